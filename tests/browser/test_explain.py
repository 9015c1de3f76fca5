"""The page that explains an order, and its buttons."""

from platform_core.topology import ORDER
from tests.browser.conftest import sign_in
from tests.e2e.stack import eventually


def test_the_page_explains_an_order(stack, page, shop, shoot):
    order = shop.made(ORDER, "/api/orders", userId="3", productId="9", quantity=1)
    path = stack.direct(ORDER, f"/orders/{order['id']}/explain")

    def mailed() -> bool:
        page.goto(path)
        return "mailed" in page.inner_text(".diagnosis")

    eventually("the confirmation is mailed", mailed)
    text = page.inner_text("main")
    for step in ("User checked", "Order opened", "Stock reserved", "Confirmed", "Confirmation mailed"):
        assert step in text
    shoot(page, "explain happy")
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark")
    fits = "document.documentElement.scrollWidth <= window.innerWidth"
    eventually("nothing runs out of the page", lambda: page.evaluate(fits))
    shoot(page, "explain happy phone dark")


def test_staff_can_cancel_with_a_button_that_asks_for_confirmation(stack, page, shop, password, shoot):
    order = shop.made(ORDER, "/api/orders", userId="4", productId="10", quantity=1)
    sign_in(page, stack, ORDER, password)
    page.goto(stack.direct(ORDER, f"/orders/{order['id']}/explain"))
    page.click("summary >> nth=0")
    page.click("button.grave")
    page.wait_for_selector(".did")
    assert shop.get(ORDER, f"/api/orders/{order['id']}")["status"] == "cancelled"
    shoot(page, "explain cancelled")
