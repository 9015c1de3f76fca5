"""The order desk: a person finds orders, moves them, and frees one that is stuck."""

import signal
from contextlib import contextmanager

import psycopg
import pytest

from platform_core.topology import ORDER
from tests.browser.conftest import sign_in
from tests.e2e.stack import eventually

WIDTHS = (1280, 820, 375)
FITS = "document.documentElement.scrollWidth <= window.innerWidth"


def listed(page, stack, query=""):
    page.goto(stack.direct(ORDER, f"/admin/order_svc/order/{query}"))


def status(shop, order):
    return shop.get(ORDER, f"/api/orders/{order['id']}")["status"]


@contextmanager
def sleeping_worker(stack):
    """order-service's worker stands still, so that nothing is recovered or delivered."""
    (worker,) = (each for each in stack.workers() if "order-service" in " ".join(each.cmdline()))
    worker.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        worker.send_signal(signal.SIGCONT)


def test_the_page_explains_an_order(stack, page, shop, shoot):
    order = shop.made(ORDER, "/api/orders", userId="3", productId="9", quantity=1)
    path = stack.direct(ORDER, f"/orders/{order['id']}/explain")

    def mailed() -> bool:
        page.goto(path)
        return "mailed" in page.inner_text(".diagnosis")

    eventually("the confirmation is mailed", mailed)
    text = page.inner_text("main")
    for step in ("User checked", "Order opened", "Stock reserved", "Confirmed", "Confirmation mailed", "Ann 3"):
        assert step in text
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            eventually(f"nothing runs out of the page at {width} px", lambda: page.evaluate(FITS))
            shoot(page, f"order {scheme} {width}")


def test_an_order_is_found_by_email_and_shipped(stack, page, shop, password, shoot):
    order = shop.made(ORDER, "/api/orders", userId="11", productId="11", quantity=1)
    sign_in(page, stack, ORDER, password)
    for name in ("ann 11", "lamp 11"):  # looked up at user-service and at product-service
        listed(page, stack, f"?q={name}")
        page.get_by_role("link", name=str(order["id"]), exact=True).wait_for()
    page.fill("#searchbar", "ANN11@example.com")
    page.press("#searchbar", "Enter")
    page.wait_for_url("**q=ANN11**")
    shoot(page, "orders found by email")
    page.get_by_role("link", name=str(order["id"]), exact=True).click()
    page.get_by_role("button", name="Mark as shipped").click()
    page.get_by_role("status").filter(has_text="The order is shipped.").wait_for()
    assert status(shop, order) == "shipped"
    assert "Shipped by Staff" in page.inner_text(".timeline")
    page.reload()
    assert not page.get_by_role("status").count(), "what was done is said once"
    shoot(page, "order shipped")


def test_staff_can_cancel_with_a_button_that_asks_for_confirmation(stack, page, shop, password, shoot):
    order = shop.made(ORDER, "/api/orders", userId="4", productId="10", quantity=1)
    sign_in(page, stack, ORDER, password)
    listed(page, stack, "?status=confirmed")
    page.get_by_role("link", name=str(order["id"]), exact=True).click()
    page.click(".operations summary")
    page.click("button.grave")
    page.get_by_role("status").filter(has_text="The order is cancelled.").wait_for()
    assert status(shop, order) == "cancelled"
    page.locator("#mails .subject").get_by_text(f"Order {order['id']} was cancelled").wait_for()
    shoot(page, "order cancelled")


def test_the_page_follows_the_order_by_itself_and_rests_while_it_is_hidden(stack, page, shop):
    order = shop.made(ORDER, "/api/orders", userId="5", productId="12", quantity=1)
    page.goto(stack.direct(ORDER, f"/orders/{order['id']}/explain"))
    polls = []
    page.on("request", lambda each: polls.append(each.headers.get("x-purpose")) if "/explain" in each.url else None)
    shop.ask("POST", ORDER, f"/api/orders/{order['id']}/ship")
    page.locator("h1 .badge.shipped").wait_for(timeout=15_000)
    page.get_by_role("button", name="Mark as delivered").wait_for()
    assert set(polls) == {"poll"}
    hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
    tell = "document.dispatchEvent(new Event('visibilitychange'))"
    page.evaluate(hide % "true" + tell)
    page.wait_for_load_state("networkidle")
    before = len(polls)
    page.wait_for_timeout(5_000)
    assert len(polls) == before
    page.evaluate(hide % "false" + tell)
    eventually("it asks again", lambda: page.wait_for_timeout(50) or len(polls) > before)


def test_a_question_that_is_being_answered_is_not_taken_away(stack, page, shop):
    order = shop.made(ORDER, "/api/orders", userId="6", productId="12", quantity=1)
    page.goto(stack.direct(ORDER, f"/orders/{order['id']}/explain"))
    page.click(".operations summary")
    shop.ask("POST", ORDER, f"/api/orders/{order['id']}/ship")
    page.locator("h1 .badge.shipped").wait_for(timeout=15_000)
    page.click("button.grave")
    page.get_by_role("status").filter(has_text="Nothing was done.").wait_for()
    assert status(shop, order) == "shipped"


def test_a_stuck_order_is_found_read_and_freed(stack, page, shop, password, shoot):
    order = shop.made(ORDER, "/api/orders", userId="7", productId="12", quantity=1)
    sign_in(page, stack, ORDER, password)
    with sleeping_worker(stack):
        with psycopg.connect(stack.database_url(), autocommit=True) as connection:
            connection.execute(
                "UPDATE order_svc.order_svc_order SET status = 'pending', total = NULL, confirmed_at = NULL, "
                "created_at = now() - interval '10 minutes' WHERE id = %s",
                [int(order["id"])],
            )
        listed(page, stack)
        page.get_by_role("link", name="Stuck").click()
        page.wait_for_url("**stuck=yes**")
        page.get_by_role("link", name=str(order["id"]), exact=True).click()
        assert "Does order-service's worker run?" in page.inner_text(".diagnosis")
        shoot(page, "order stuck")
        page.get_by_role("button", name="Reject now").click()
        page.get_by_role("status").filter(has_text="The order is rejected.").wait_for()
        assert "Rejected by Staff" in page.inner_text(".timeline")
    page.locator(".timeline").get_by_text("Stock released").wait_for(timeout=20_000)
    assert status(shop, order) == "rejected"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_list_fits(stack, page, shop, password, shoot, scheme):
    sign_in(page, stack, ORDER, password)
    page.emulate_media(color_scheme=scheme)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        listed(page, stack)
        eventually(f"nothing runs out of the page at {width} px", lambda: page.evaluate(FITS))
        shoot(page, f"orders {scheme} {width}")
