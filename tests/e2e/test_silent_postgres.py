"""Postgres that is frozen, or that has lost its synchronous standby: each answer comes within its deadline."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from platform_core.topology import ORDER, PRODUCT, SERVICES, USER
from tests.e2e.freezing import frozen, postgres_processes, without_standby
from tests.e2e.stack import Shop, Stack, eventually, temporary_stack

DEADLINE = 5.0
SLACK = 5.0
"""For a machine that others use."""
SOON = 10.0
WRITERS = 12


@pytest.fixture(scope="module")
def silent_stack(template: Path) -> Iterator[Stack]:
    with temporary_stack(template) as stack:
        yield stack.up()


@pytest.fixture
def shop(silent_stack: Stack) -> Shop:
    return Shop(silent_stack)


def timed(shop, method, service, path, **kwargs):
    """The status of the answer, and how many seconds it took."""
    began = time.monotonic()
    status = shop.ask(method, service, path, **kwargs).status_code
    return status, time.monotonic() - began


def wait_until_refused(shop, method, service, path, **kwargs):
    """Until the service has noticed, and answers at once."""
    eventually(
        "refused at once",
        lambda: (found := timed(shop, method, service, path, **kwargs)) and found[0] == 503 and found[1] < 1,
        30,
    )


def test_while_postgres_is_frozen_every_answer_comes_within_its_deadline(silent_stack, shop):
    with frozen(postgres_processes(silent_stack)), ThreadPoolExecutor(20) as threads:
        reads = [
            *(threads.submit(timed, Shop(silent_stack), "GET", service, "/health/ready") for service in SERVICES),
            *(threads.submit(timed, Shop(silent_stack), "GET", PRODUCT, "/api/products") for _ in range(4)),
            *(threads.submit(timed, Shop(silent_stack), "GET", USER, "/api/users") for _ in range(4)),
        ]
        order = {"userId": 1, "items": [{"productId": 1, "quantity": 1}]}
        writes = [
            threads.submit(timed, Shop(silent_stack), "POST", ORDER, "/api/orders", json=order) for _ in range(WRITERS)
        ]
        answers = [each.result() for each in (*reads, *writes)]
        for service, path in ((ORDER, "/api/orders"), (PRODUCT, "/api/products")):
            wait_until_refused(shop, "GET", service, path)
        lives = [timed(shop, "GET", service, "/health/live") for service in SERVICES]
    assert {status for status, _ in answers} == {503}
    assert max(seconds for _, seconds in answers) < DEADLINE + SLACK
    assert {status for status, _ in lives} == {200}
    began = time.monotonic()
    for service in SERVICES:
        eventually(
            f"{service.name} is ready", lambda service=service: shop.ask("GET", service, "/health/ready").ok, SOON
        )
    eventually("orders are read", lambda: shop.ask("GET", ORDER, "/api/orders").ok, SOON)
    print(f"longest answer {max(s for _, s in answers):.1f} s, ready {time.monotonic() - began:.1f} s after the freeze")
    assert not [line for line in silent_stack.said().splitlines() if "Traceback" in line]


@pytest.mark.nightly
def test_a_lost_standby_stops_writes_alone_and_no_order_is_lost_or_doubled(silent_stack, shop):
    user = shop.made(USER, "/api/users", name="Ann", email=f"ann{time.time_ns()}@example.com")
    product = shop.made(PRODUCT, "/api/products", name="Lamp", price=19.99, stock=1000)
    order = {"userId": user["id"], "items": [{"productId": product["id"], "quantity": 1}]}

    def place(number: int) -> tuple[int, float]:
        return timed(
            Shop(silent_stack),
            "POST",
            ORDER,
            "/api/orders",
            json=order,
            headers={"Idempotency-Key": f"standby-{number}"},
        )

    with without_standby(silent_stack), ThreadPoolExecutor(WRITERS) as threads:
        placed = list(threads.map(place, range(WRITERS)))
        wait_until_refused(shop, "POST", ORDER, "/api/orders", json=order)
        lives = [timed(shop, "GET", service, "/health/live") for service in SERVICES]
        read = timed(shop, "GET", PRODUCT, f"/api/products/{product['id']}")
    assert {status for status, _ in placed} == {503}
    assert max(seconds for _, seconds in placed) < DEADLINE + SLACK
    assert [status for status, _ in lives] == [200] * len(SERVICES)
    assert read[0] == 200

    def repeated(number: int) -> bool:
        return place(number)[0] == 201

    for number in range(WRITERS):
        eventually("the order is placed", lambda number=number: repeated(number), 60)
    verified = silent_stack.run("verify", "--wait", "90", timeout=200)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    stock = shop.get(PRODUCT, f"/api/products/{product['id']}")["stock"]
    orders = shop.get(ORDER, f"/api/orders?userId={user['id']}&status=confirmed&limit=100")["results"]
    assert stock == 1000 - len(orders)
    assert len(orders) >= WRITERS
