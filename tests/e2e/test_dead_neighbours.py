"""Each peer is down, hangs, or loses its responses."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest

from platform_core.topology import ANALYTICS, NOTIFICATION, ORDER, PRODUCT, SERVICES, USER, Service
from tests.e2e.proxy import Faults, ProxiedStack
from tests.e2e.stack import Shop, eventually, own_folder


@pytest.fixture(scope="module")
def faults() -> dict[Service, Faults]:
    return {service: Faults() for service in SERVICES}


@pytest.fixture(scope="module")
def proxied(faults, template) -> Iterator[ProxiedStack]:
    with own_folder() as folder, ExitStack() as resources:
        stack = ProxiedStack(folder, resources, faults=faults)
        stack.template = template
        try:
            yield stack.up(PENDING_SECONDS="8")
        finally:
            stack.stop()


@pytest.fixture
def shop(proxied, faults) -> Iterator[Shop]:
    yield Shop(proxied)
    for fault in faults.values():
        fault.clear()


@pytest.fixture
def body(shop) -> dict[str, object]:
    user = shop.made(USER, "/api/users", name="Ann", email=f"ann{time.time_ns()}@example.com")
    product = shop.made(PRODUCT, "/api/products", name="Lamp", price=2, stock=100)
    body = {"userId": user["id"], "productId": product["id"], "quantity": 1}
    shop.made(ORDER, "/api/orders", **body)
    return body


def stock(shop: Shop, body: dict) -> int:
    return shop.get(PRODUCT, f"/api/products/{body['productId']}")["stock"]


def placed(shop: Shop, body: dict, **headers: str):
    """Places an order and repeats the request until the breakers are closed."""
    return eventually(
        "an order goes through again",
        lambda: (
            (answer := shop.ask("POST", ORDER, "/api/orders", json=body, headers=headers)).status_code == 201 and answer
        ),
    )


@pytest.mark.parametrize("peer", [USER, PRODUCT], ids=lambda peer: peer.package)
@pytest.mark.parametrize("way", ["answers are lost", "it hangs"])
def test_without_users_or_products_an_order_gets_503_in_time_and_nothing_is_kept(shop, faults, body, peer, way):
    before = stock(shop, body)
    if way == "it hangs":
        faults[peer].delay, faults[peer].longest = 1.0, 60.0
        faults[peer].shortest = 30.0
    else:
        faults[peer].drop = 1.0
    headers = {"X-Request-Timeout": "2"}
    refused = shop.ask(
        "POST", ORDER, "/api/orders", json=body, headers={**headers, "Idempotency-Key": f"k{peer.port}{way}"}
    )
    assert refused.status_code == 503, refused.text
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.json()["code"] in ("unavailable", "deadline_exceeded")
    assert refused.elapsed.total_seconds() < 5  # two are asked for; the default alone would be five
    faults[peer].clear()
    again = placed(shop, body, **{"Idempotency-Key": f"k{peer.port}{way}"})
    assert "Idempotent-Replayed" not in again.headers
    eventually("only the second order holds stock", lambda: stock(shop, body) == before - 1)


def test_without_notifications_orders_succeed_and_messages_arrive_when_it_is_back(shop, faults, body):
    faults[NOTIFICATION].drop = 1.0
    order = shop.made(ORDER, "/api/orders", **body)
    faults[NOTIFICATION].clear()

    def mailed() -> list[str]:
        notes = shop.get(NOTIFICATION, f"/api/notifications/{body['userId']}")["results"]
        return [note["subject"] for note in notes if note["status"] == "sent"]

    subject = f"Order {order['id']} is confirmed"
    eventually("the confirmation", lambda: subject in mailed())
    assert mailed().count(subject) == 1  # although the first responses were lost after acceptance


def test_the_platform_works_without_analytics(shop, faults, body):
    faults[ANALYTICS].drop = 1.0
    assert shop.made(ORDER, "/api/orders", **body)["status"] == "confirmed"


def test_a_peer_of_analytics_that_is_gone_is_named_and_its_figures_are_the_last_known(shop, faults, body):
    known = shop.get(ANALYTICS, "/api/analytics/summary")
    assert known["stale"] == []
    faults[ORDER].drop = 1.0
    since = datetime.now(UTC)
    shop.made(ORDER, "/api/orders", **body)
    shop.made(USER, "/api/users", name="Bea", email=f"bea{time.time_ns()}@example.com")
    stale = shop.get(ANALYTICS, "/api/analytics/summary")
    assert stale["stale"] == ["order-service"]
    assert stale["orders"] == known["orders"]
    assert stale["users"]["total"] == known["users"]["total"] + 1
    assert datetime.fromisoformat(stale["asOf"]) < since
    faults[ORDER].clear()
    eventually(
        "it counts again",
        lambda: shop.get(ANALYTICS, "/api/analytics/summary")["orders"]["total"] == known["orders"]["total"] + 1,
    )


def test_reads_go_on_while_a_peer_hangs_and_fifty_clients_order(proxied, shop, faults, body):
    faults[USER].delay, faults[USER].shortest, faults[USER].longest = 1.0, 30.0, 60.0
    with ThreadPoolExecutor(50) as pool:
        orders = [pool.submit(Shop(proxied).ask, "POST", ORDER, "/api/orders", json=body) for _ in range(150)]
        reads = []
        while not all(order.done() for order in orders):
            reads.append(shop.ask("GET", ORDER, "/api/orders?limit=1"))
        assert {order.result().status_code for order in orders} == {503}
    assert {read.status_code for read in reads} == {200}
    assert len(reads) > 50  # they were not waiting for the orders


def test_sixteen_healthy_clients_are_all_served(proxied, body):
    """On a busy machine some may be asked to come back, as `Retry-After` says."""

    def placed(_: int) -> int:
        for _ in range(5):
            answer = Shop(proxied).ask("POST", ORDER, "/api/orders", json=body)
            if answer.status_code != 503:
                break
            time.sleep(float(answer.headers["Retry-After"]))
        return answer.status_code

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(placed, range(64))) == {201}


def test_a_stopped_postgres_means_503_and_heals_without_a_restart(proxied, shop, body):
    webs = {process.pid for service in SERVICES for process in proxied.webs(service)}
    cluster = proxied.folder / "data" / "postgres"
    guardian = next(p for p in proxied.processes() if "platform_core.stack.guardian" in " ".join(p.cmdline()))
    guardian.suspend()
    server = next(p for p in proxied.processes() if p.pid == int((cluster / "postmaster.pid").read_text().split()[0]))
    server.send_signal(signal.SIGQUIT)
    eventually("Postgres is down", lambda: not server.is_running() or server.status() == "zombie")
    try:
        for service in SERVICES:
            down = shop.ask("GET", service, "/health")
            assert (down.status_code, down.json()["status"]) == (503, "down")
            assert shop.ask("GET", service, "/health/live").status_code == 200
            assert shop.ask("GET", service, "/health/ready").status_code == 503
        refused = shop.ask("GET", ORDER, "/api/orders")
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert "Retry-After" in refused.headers
        assert shop.ask("POST", ORDER, "/api/orders", json=body).status_code == 503
    finally:
        guardian.resume()
    placed(shop, body)
    assert {process.pid for service in SERVICES for process in proxied.webs(service)} == webs
