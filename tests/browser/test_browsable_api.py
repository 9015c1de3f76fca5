"""The browsable API: the first manual steps."""

import re

from platform_core.topology import ORDER, PRODUCT, USER
from tests.browser.conftest import STAFF, sign_in


def test_a_product_and_an_order_are_posted_by_forms(stack, page, shop, shoot):
    page.goto(stack.direct(PRODUCT, "/api/products"))
    page.fill("input[name=name]", "Table")
    page.fill("input[name=price]", "120.50")
    page.fill("input[name=stock]", "4")
    page.click("#post-object-form button:has-text('POST'), form button:has-text('POST')")
    page.wait_for_selector("text=201 Created")
    shoot(page, "api product posted")
    product = re.search(r'"id": "(\d+)"', page.inner_text(".response-info"))[1]
    page.goto(stack.direct(ORDER, "/api/orders"))
    page.click("text=Raw data") if page.locator("text=Raw data").count() else None
    page.fill("textarea[name=_content] >> visible=true", f'{{"userId": "1", "productId": "{product}", "quantity": 1}}')
    page.click("button:has-text('POST') >> visible=true")
    page.wait_for_selector("text=201 Created")
    assert '"status": "confirmed"' in page.inner_text(".response-info")
    shoot(page, "api order posted")


def test_the_pages_of_the_api_and_its_docs_open(stack, page, shop, shoot):
    for service, path in ((USER, "/api/"), (USER, "/api/users"), (ORDER, "/api/orders/3"), (PRODUCT, "/api/events")):
        assert page.goto(stack.direct(service, path)).status == 200
        shoot(page, f"api {service.name} {path}")
    page.goto(stack.direct(ORDER, "/api/docs"))
    page.wait_for_selector(".opblock")
    shoot(page, "api docs")


def test_an_admin_session_may_post_in_the_api_pages(stack, page, shop, password, shoot):
    sign_in(page, stack, PRODUCT, password)
    page.goto(stack.direct(PRODUCT, "/api/products"))
    assert page.locator("text=Sign out").count() or page.locator(f"text={STAFF}").count()
    page.fill("input[name=name]", "Stool")
    page.fill("input[name=price]", "15")
    page.click("form button:has-text('POST')")
    page.wait_for_selector("text=201 Created")
    shoot(page, "api signed in")
