"""Load from many clients while everything is killed. Then the promises must hold, and every answer must be true."""

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from platform_core.stack.supervisor import health_of
from platform_core.topology import ORDER, PRODUCT, SERVICES, USER
from tests.chaos.killer import Killer
from tests.chaos.load import Client, Promised
from tests.e2e.proxy import Faults, ProxiedStack
from tests.e2e.stack import Shop, eventually

CLIENTS = 12
STOCK = 300


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def seed(request) -> int:
    return request.config.getoption("--seed")


@pytest.fixture
def stack(faults, seed) -> Iterator[ProxiedStack]:
    with tempfile.TemporaryDirectory(prefix="platform-chaos-") as folder, ExitStack() as resources:
        Path(folder).chmod(0o755)
        stack = ProxiedStack(Path(folder), resources, faults=dict.fromkeys(SERVICES, faults), seed=seed)
        try:
            yield stack.up(PENDING_SECONDS="8", LOG_LEVEL="warn")
        finally:
            stack.stop()


def test_no_promise_breaks_whatever_is_killed(stack, faults, seed, request, capsys):
    shop = Shop(stack)
    users = [shop.made(USER, "/api/users", name="Ann", email=f"ann{n}@example.com")["id"] for n in range(5)]
    products = [shop.made(PRODUCT, "/api/products", name=f"Thing {n}", price=7, stock=STOCK)["id"] for n in range(6)]
    told, over = Promised(), threading.Event()
    clients = [Client(stack, users, products, told, seed * 1000 + n, over) for n in range(CLIENTS)]
    killer = Killer(stack, faults, seed, over)
    for thread in (*clients, killer):
        thread.start()
    time.sleep(request.config.getoption("--minutes") * 60)
    over.set()
    for thread in (*clients, killer):
        thread.join(120)
        assert not thread.is_alive()
    faults.clear()
    for service in SERVICES:
        eventually(f"{service.name} is well", lambda s=service: health_of(stack.direct(s, ""), "/health")[0] == 200, 90)

    verified = stack.run("verify", "--patience", "90", timeout=400)
    with capsys.disabled():
        tell(seed, told, killer, faults)
    assert verified.returncode == 0, f"seed {seed}\n{verified.stdout}{verified.stderr}\n{stack.said()[-4000:]}"
    assert told.doubled == []
    every_answer_was_true(shop, told)
    every_adjustment_counts_once(shop, told, products)


def every_answer_was_true(shop: Shop, told: Promised) -> None:
    lasting = {"confirmed": {"confirmed", "cancelled", "shipped"}, "cancelled": {"cancelled"}, "shipped": {"shipped"}}
    assert told.orders, "nothing was ordered"
    for order_id, state in told.orders.items():
        assert shop.get(ORDER, f"/api/orders/{order_id}")["status"] in lasting[state], order_id


def every_adjustment_counts_once(shop: Shop, told: Promised, products: list[str]) -> None:
    held: dict[str, int] = dict.fromkeys(products, 0)
    path = "/api/orders?limit=200"
    while path:
        page = shop.get(ORDER, path)
        for order in page["results"]:
            if order["status"] in ("confirmed", "shipped", "delivered"):
                for item in order["items"]:
                    held[item["productId"]] += item["quantity"]
        path = page["next"] and "/api/orders?" + page["next"].split("?", 1)[1]
    for product in set(products) - told.uncertain:
        stock = shop.get(PRODUCT, f"/api/products/{product}")["stock"]
        assert stock == STOCK + told.adjusted[product] - held[product], f"product {product}"


def tell(seed: int, told: Promised, killer: Killer, faults: Faults) -> None:
    print(f"\nchaos with seed {seed}:")
    figures = {**told.figures, **killer.done, "answers dropped": faults.dropped, "answers delayed": faults.delayed}
    for name, number in sorted(figures.items()):
        print(f"  {number:6} {name}")
