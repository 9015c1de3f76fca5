"""A bulk job, as a member of staff sees it: the question, the progress without a reload, the refused rows."""

import csv
from pathlib import Path

import pytest

from platform_core.topology import ORDER, PRODUCT, USER
from tests.browser.conftest import sign_in
from tests.e2e.stack import eventually


@pytest.fixture(scope="module")
def orders(shop):
    """120 more confirmed orders, and the shipped one of `shop`."""
    user = shop.made(USER, "/api/users", name="Bulk", email="bulk@example.com")
    product = shop.made(PRODUCT, "/api/products", name="Bulk lamp", price=5, stock=1000)
    return [shop.made(ORDER, "/api/orders", userId=user["id"], productId=product["id"], quantity=1) for _ in range(120)]


def select_all(page, stack, action):
    page.goto(stack.direct(ORDER, "/admin/order_svc/order/"))
    page.check("#action-toggle")
    page.locator(".actions .question a").click()
    page.select_option("select[name=action]", action)
    page.locator("button[name=index], .actions button[type=submit]").first.click()
    page.wait_for_url("**/admin/jobs/job/*/change/")


def test_a_bulk_job_is_asked_about_watched_and_explained(stack, page, password, orders, shoot):
    sign_in(page, stack, ORDER, password)
    select_all(page, stack, "ship")
    assert "will be marked as shipped" in page.locator(".job-lead").inner_text()
    shoot(page, "job question")
    page.set_viewport_size({"width": 375, "height": 800})
    shoot(page, "job question narrow")
    page.get_by_role("button", name="Yes: mark as shipped").click()
    page.locator("#job-progress").wait_for()
    eventually("the progress is shown", lambda: page.locator("#job-progress dd").first.inner_text() != "", 60)
    shoot(page, "job running narrow")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.locator("#job-progress:not([data-unfinished])").wait_for(timeout=120_000)  # nobody reloads
    assert page.locator("#job-state").inner_text().lower().startswith("done")
    assert page.get_by_text("cannot become shipped").count() >= 1, "the cancelled order of the shop"
    shoot(page, "job done")
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 820, "height": 900})
    page.reload()
    shoot(page, "job done dark")
    page.get_by_role("link", name="All jobs").click()
    page.wait_for_url("**/admin/jobs/job/")
    shoot(page, "jobs dark")


@pytest.mark.nightly
def test_orders_are_exported_and_the_file_is_downloaded(stack, page, password, orders, shoot):
    sign_in(page, stack, ORDER, password)
    select_all(page, stack, "export_for_excel")
    shoot(page, "export question")
    page.get_by_role("button", name="Yes: export the orders").click()
    page.locator("#job-progress:not([data-unfinished])").wait_for(timeout=120_000)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the file").click()
    rows = list(csv.DictReader(Path(download.value.path()).read_text("utf-8-sig").splitlines()))
    assert {order["id"] for order in orders} <= {row["order"] for row in rows}
    shoot(page, "export done")


def test_a_question_is_answered_with_no(stack, page, password, orders):
    sign_in(page, stack, ORDER, password)
    select_all(page, stack, "cancel")
    page.get_by_role("button", name="No, change nothing").click()
    page.get_by_text("Nothing was changed").wait_for()
