"""The stock room: a person adjusts the stock on a product's page."""

import pytest

from platform_core.topology import PRODUCT
from tests.browser.conftest import sign_in
from tests.e2e.stack import slow


@pytest.fixture
def product(stack, page, shop, password):
    """The page of a product, opened by a member of the staff."""
    sign_in(page, stack, PRODUCT, password)
    page.goto(stack.direct(PRODUCT, "/admin/product_svc/product/9/change/"))
    return page


def stock(page) -> int:
    return int(page.inner_text("#stock-title strong"))


def fill(page, how: str, number: str, reason: str, note: str = "") -> None:
    page.get_by_label("Change").select_option(how)
    page.get_by_label("Pieces").fill(number)
    page.get_by_label("Reason").select_option(reason)
    page.get_by_label("Note", exact=True).fill(note)


def test_stock_is_added_and_the_movement_names_who_did_it(product, shoot):
    before = stock(product)
    fill(product, "by", "25", "received", "two boxes")
    product.click("text=Adjust stock")
    product.wait_for_selector("text=25 pieces added")
    assert stock(product) == before + 25
    first = product.locator(".stock-table tbody tr").first.inner_text()
    assert "+25" in first and "received" in first and "two boxes" in first
    assert "manage.py" not in first and product.locator(".stock-table tbody tr").first.locator("a").count() == 1
    shoot(product, "product")


def test_a_count_on_a_page_that_is_out_of_date_is_not_taken(product, shop):
    before = stock(product)
    shop.made(PRODUCT, "/api/products/9/stock-adjustments", delta=-1)
    fill(product, "to", "3", "counted")
    product.click("text=Adjust stock")
    product.wait_for_selector(f"text=The stock was {before} when this page was opened, and is {before - 1} now.")
    assert shop.get(PRODUCT, "/api/products/9")["stock"] == before - 1
    product.click("button:has-text('Adjust stock')")
    product.wait_for_selector("text=The stock is 3 now.")
    assert stock(product) == 3


def test_it_can_be_done_by_keyboard(product):
    before = stock(product)
    product.get_by_label("Change").focus()
    product.keyboard.press("Tab")
    product.keyboard.type("-1")
    product.keyboard.press("Tab")
    product.keyboard.type("damaged")
    product.keyboard.press("Tab")
    product.keyboard.type("fell")
    product.keyboard.press("Enter")
    product.wait_for_selector("text=1 piece removed")
    assert stock(product) == before - 1


def test_low_stock_is_a_filter_that_leads_to_the_product(product, stack, shoot):
    product.goto(stack.direct(PRODUCT, "/admin/product_svc/product/?stock=low"))
    assert "Lamp 1" in product.inner_text("#result_list")
    shoot(product, "products with low stock")
    product.click("#result_list >> text=Lamp 3")
    product.wait_for_selector("#stock-title")
    product.click("text=All movements of this product")
    product.wait_for_url("**/stockmovement/?product=*")


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (375, "dark"),
        (1280, "light"),
        slow(375, "light"),
        slow(1280, "dark"),
        slow(820, "light"),
        slow(820, "dark"),
    ],
)
def test_the_page_fits_every_width(product, shoot, width, scheme):
    product.set_viewport_size({"width": width, "height": 844})
    product.emulate_media(color_scheme=scheme)
    product.reload()
    assert product.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    shoot(product, f"product {width} {scheme}")
