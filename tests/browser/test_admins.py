"""The admins: one account opens all five, lists open, filter and show their rows."""

from urllib.parse import urlsplit

import pytest

from platform_core.topology import ORDER, PRODUCT, SERVICES
from tests.browser.conftest import sign_in
from tests.e2e.stack import eventually, slow

services = pytest.mark.parametrize(
    "service", [each if each in (ORDER, PRODUCT) else slow(each) for each in SERVICES], ids=lambda service: service.name
)


def lists_of(page):
    """The lists that the index links to."""
    found = page.eval_on_selector_all("a[href]", "links => links.map(link => link.getAttribute('href'))")
    return sorted({link for link in found if link.startswith("/admin/") and link.strip("/").count("/") == 2})


@services
@pytest.mark.usefixtures("shop")
def test_lists_open_filter_and_show_a_row(stack, page, password, shoot, service):
    sign_in(page, stack, service, password)
    shoot(page, f"admin {service.name}")
    paths = lists_of(page)
    assert len(paths) >= 3
    for path in paths:
        answer = page.goto(stack.direct(service, path))
        assert answer.status == 200, path
        shoot(page, f"admin {path}")
        rows = page.eval_on_selector_all("a[href$='/change/'], a[href*='/change/?']", "links => links.map(a => a.href)")
        if rows:
            answer = page.goto(rows[0])
            assert answer.status == 200, rows[0]
            shoot(page, f"admin {path} row")


def test_a_filter_narrows_the_list(stack, page, password, shop):
    sign_in(page, stack, PRODUCT, password)
    page.goto(stack.direct(PRODUCT, "/admin/product_svc/stockmovement/"))
    everything = page.locator("#result_list tr").count()
    page.click("text=Filters")
    page.get_by_role("link", name="Reservation", exact=True).click()
    page.wait_for_url("**kind**")
    assert 1 < page.locator("#result_list tr").count() < everything


def test_a_product_is_added_by_hand_and_the_dark_theme_holds(stack, page, password, shop, shoot):
    sign_in(page, stack, PRODUCT, password)
    page.goto(stack.direct(PRODUCT, "/admin/product_svc/product/add/"))
    page.fill("input[name=name]", "Chair by hand")
    page.fill("input[name=price]", "49.50")
    page.click("button[name=_save]")
    eventually("the list again", lambda: urlsplit(page.url).path == "/admin/product_svc/product/")
    page.locator("#result_list").get_by_text("Chair by hand").wait_for()
    page.emulate_media(color_scheme="dark")
    shoot(page, "admin product dark")
