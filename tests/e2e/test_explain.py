"""The page that explains an order, with real services."""

import signal

import pytest

from platform_core.topology import NOTIFICATION, ORDER, PRODUCT, USER
from tests.e2e.stack import Shop, eventually

BROWSER = {"Accept": "text/html"}


@pytest.fixture
def order(shop, user, product):
    return shop.made(ORDER, "/api/orders", userId=user["id"], productId=product["id"], quantity=2)


def explained(shop, order):
    return shop.get(ORDER, f"/api/orders/{order['id']}/explain")


def test_an_order_is_explained_from_its_first_step_to_the_mail(shop, order):
    found = eventually("the confirmation is mailed", lambda: mailed(shop, order))
    assert found["verdict"]["text"].startswith("Confirmed; the confirmation was mailed")
    assert [moment["state"] for moment in found["timeline"]] == ["done"] * 6
    assert [moment["service"].split("-")[0] for moment in found["timeline"]] == [
        *("user", "order", "product", "order", "notification", "notification")
    ]
    assert found["unknown"] == []
    assert found["reservation"]["status"] == "reserved"
    (note,) = found["notifications"]
    assert (note["status"], note["attempts"]) == ("sent", 1)
    assert shop.get(NOTIFICATION, f"/api/notifications?senderKey={note['key']}")["results"][0]["id"] == note["id"]


@pytest.mark.nightly
def test_a_waiting_release_is_shown_retried_and_done(own_stack):
    """product-service hangs while the page's button cancels the order. Breakers stay open afterwards."""
    stack, shop = own_stack, Shop(own_stack.up())
    user = shop.made(USER, "/api/users", name="Ann", email="ann@example.com")
    product = shop.made(PRODUCT, "/api/products", name="Lamp", price=19.99, stock=10)
    order = shop.made(ORDER, "/api/orders", userId=user["id"], productId=product["id"], quantity=2)
    page = stack.direct(ORDER, f"/orders/{order['id']}/explain")
    webs = stack.webs(PRODUCT)
    for process in webs:
        process.send_signal(signal.SIGSTOP)
    try:
        done = shop.session.post(f"{page}/cancel", headers=BROWSER, timeout=40)
        assert "The order is cancelled" in done.text
        waiting = eventually("an attempt has failed", lambda: waits(shop, order))
        assert "its stock is not released yet: product-service does not answer" in waiting["verdict"]["text"]
        assert waiting["unknown"] == ["product-service"]
        eventually("it is tried again", lambda: "being delivered again" in retried(shop, page))
    finally:
        for process in webs:
            process.send_signal(signal.SIGCONT)
    text = eventually("the stock is back", lambda: mailed(shop, order))["verdict"]["text"]
    assert text.startswith("Cancelled; its stock is released, and the notice of its cancellation was mailed")


def retried(shop: Shop, page: str) -> str:
    return str(shop.session.post(f"{page}/retry", headers=BROWSER, timeout=40).text)


def mailed(shop: Shop, order: dict) -> dict | None:
    found = explained(shop, order)
    return found if "was mailed" in found["verdict"]["text"] else None


def waits(shop: Shop, order: dict) -> dict | None:
    found = explained(shop, order)
    return found if "does not answer (" in found["verdict"]["text"] else None
