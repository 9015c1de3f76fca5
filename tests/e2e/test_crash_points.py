"""A process is killed at each step of the saga and of a delivery. A repeated request gives one order."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from platform_core.topology import NOTIFICATION, ORDER, PRODUCT, USER
from tests.e2e.stack import Shop, Stack, eventually, temporary_stack

PLACING = ["order.opened", "reservation.taken", "order.reserved", "order.confirmed"]
DELIVERING = ["outbox.claimed", "notification.accepted", "outbox.delivered"]


@pytest.fixture(scope="module")
def crashing(template: Path) -> Iterator[Stack]:
    with temporary_stack(template) as stack:
        yield stack.up(PENDING_SECONDS="3", PLATFORM_FAILPOINTS=str(stack.folder))


@pytest.fixture
def shop(crashing: Stack) -> Shop:
    """A client whose GETs may reach a dying process."""
    shop = Shop(crashing)
    shop.session.mount("http://", HTTPAdapter(max_retries=Retry(5, backoff_factor=0.1)))
    return shop


@pytest.fixture
def body(shop: Shop) -> dict[str, object]:
    user = shop.made(USER, "/api/users", name="Ann", email=f"ann{time.time_ns()}@example.com")
    product = shop.made(PRODUCT, "/api/products", name="Lamp", price=2, stock=10)
    return {"userId": user["id"], "productId": product["id"], "quantity": 3}


def arm(stack: Stack, point: str) -> Path:
    trap = stack.folder / point
    trap.touch()
    return trap


def insist(shop: Shop, path: str, body: dict | None, key: str) -> requests.Response:
    """Repeats the request until the response is definite, as after a broken connection."""

    def definite() -> requests.Response | None:
        try:
            answer = shop.ask("POST", ORDER, path, json=body, headers={"Idempotency-Key": key})
        except requests.ConnectionError:
            return None
        return answer if answer.status_code in (200, 201) else None

    return eventually(f"{path} is answered", definite, 60)


def stock(shop: Shop, body: dict) -> int:
    return shop.get(PRODUCT, f"/api/products/{body['productId']}")["stock"]


def subjects(shop: Shop, body: dict) -> list[str]:
    notes = shop.get(NOTIFICATION, f"/api/notifications/{body['userId']}")["results"]
    return [note["subject"] for note in notes if note["status"] == "sent"]


@pytest.mark.parametrize("point", PLACING + DELIVERING)
def test_a_crash_at_any_step_leaves_one_order_and_one_confirmation(crashing, shop, body, point):
    trap = arm(crashing, point)
    order = insist(shop, "/api/orders", body, f"key of {point}").json()
    eventually("somebody died", lambda: not trap.exists())
    eventually("the confirmation", lambda: f"Order {order['id']} is confirmed" in subjects(shop, body), 90)
    eventually("stock is held for one order", lambda: stock(shop, body) == 7)
    live = [
        each
        for each in shop.get(ORDER, f"/api/orders/user/{body['userId']}")["results"]
        if each["status"] != "rejected"
    ]
    assert [each["id"] for each in live] == [order["id"]]
    verified = crashing.run("verify", "--wait", "60")
    assert verified.returncode == 0, verified.stdout
    assert subjects(shop, body).count(f"Order {order['id']} is confirmed") == 1


def test_a_release_that_dies_after_its_work_is_repeated_without_harm(crashing, shop, body):
    order = insist(shop, "/api/orders", body, "to be cancelled").json()
    trap = arm(crashing, "reservation.released")
    insist(shop, f"/api/orders/{order['id']}/cancel", None, "cancel it")
    eventually("somebody died", lambda: not trap.exists())
    eventually("the stock is back", lambda: stock(shop, body) == 10)
    verified = crashing.run("verify", "--wait", "60")
    assert verified.returncode == 0, verified.stdout
    assert stock(shop, body) == 10
