"""One sign-in for all admins, as a person does it, and the pages that say why there is none."""

import pytest

from platform_core.topology import ANALYTICS, ORDER, PRODUCT, SERVICES, USER
from tests.browser.conftest import STAFF, sign_in, submit
from tests.e2e.freezing import frozen
from tests.e2e.stack import eventually

FITS = "document.documentElement.scrollWidth <= window.innerWidth"
CUSTOMER, CUSTOMERS_PASSWORD = "cora@example.com", "correct horse battery"


@pytest.fixture(params=["light", "dark"])
def shoot_all(shoot, page, request):
    """Saves a screenshot in two widths. Nothing may run out of the page."""
    page.emulate_media(color_scheme=request.param)

    def shoot_all(page, name):
        for width in (1280, 375):
            page.set_viewport_size({"width": width, "height": 800})
            eventually("nothing runs out of the page", lambda: page.evaluate(FITS))
            shoot(page, f"{name} {width} {request.param}")
        page.set_viewport_size({"width": 1280, "height": 800})

    return shoot_all


def test_a_person_signs_in_once_goes_through_all_admins_and_signs_out(stack, page, password, shop, shoot_all):
    wanted = stack.direct(ORDER, "/admin/order_svc/order/?status=confirmed")
    page.goto(wanted)
    assert page.url.startswith(stack.direct(USER, "/admin/login/"))
    assert "order-service" in page.inner_text("#page")
    shoot_all(page, "sign-on form")
    submit(page, STAFF, password)
    page.wait_for_url(wanted)
    for service in SERVICES:
        answer = page.goto(stack.direct(service, "/admin/"))
        assert (answer.status, page.url) == (200, stack.direct(service, "/admin/"))
    page.goto(stack.direct(PRODUCT, "/admin/"))
    page.eval_on_selector("form#logout-form", "form => form.submit()")
    page.get_by_role("heading", name="You are signed out").wait_for()
    shoot_all(page, "signed out")
    page.get_by_role("link", name="Sign in again").click()
    page.wait_for_url(stack.direct(USER, "/admin/login/**"))


def test_the_browsable_api_and_the_dashboard_lead_to_the_same_sign_in(stack, page, password, shop):
    page.goto(stack.direct(ORDER, "/api/orders"))
    page.locator(".office-person summary").click()
    page.get_by_role("link", name="Sign in", exact=True).click()
    submit(page, STAFF, password)
    page.wait_for_url(stack.direct(ORDER, "/api/orders"))
    assert "Sign out" in page.content()
    assert page.goto(stack.direct(ANALYTICS, "/")).status == 200


def test_a_person_who_may_not_is_told_why(stack, page, shop, password, shoot_all, watch):
    watch.expected += ["400 (Bad Request)"]
    body = {"name": "Cora", "email": CUSTOMER, "password": CUSTOMERS_PASSWORD}
    assert shop.ask("POST", USER, "/api/users", json=body).status_code in (201, 409)
    page.goto(stack.direct(ORDER, "/admin/"))
    submit(page, CUSTOMER, CUSTOMERS_PASSWORD)
    page.get_by_text("has no role").wait_for()
    shoot_all(page, "sign-on no role")
    page.get_by_role("link", name="Use a local account of order-service").click()
    page.get_by_text("local accounts of order-service").wait_for()
    shoot_all(page, "sign-on local form")
    page.get_by_role("link", name="Sign in for all admins").click()
    page.wait_for_url(stack.direct(USER, "/admin/login/**"))
    with frozen(stack.webs(USER)):
        page.goto(stack.direct(ORDER, "/admin/"))
        page.get_by_text("user-service does not answer").wait_for()
        shoot_all(page, "sign-on without user-service")
    sign_in(page, stack, USER, password)
    page.goto(stack.direct(ORDER, "/admin/signed-on/?ticket=a.b.c"))
    page.get_by_role("heading", name="The sign-in was not completed").wait_for()
    shoot_all(page, "sign-on refused")
    page.get_by_role("link", name="Try again").click()
    page.wait_for_url(stack.direct(ORDER, "/admin/"))
