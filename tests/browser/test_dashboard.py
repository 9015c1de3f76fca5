"""The dashboard: it shows the figures of the API and refreshes itself."""

import itertools
import json
from decimal import Decimal

import pytest

from platform_core.topology import ANALYTICS, ORDER, PRODUCT, SERVICES
from tests.e2e.stack import eventually, slow

_BARS = """name => {
    const chart = Chart.getChart(name);
    return Boolean(chart && !chart.isAnimating?.() && chart.data.datasets[0]?.data.some(value => value > 0));
}"""


def figure(page, name: str) -> str:
    return page.inner_text(f"[data-figure={name}]").replace(",", "")


@pytest.fixture
def dashboard(stack, page, shop):
    page.goto(stack.direct(ANALYTICS, "/"))
    page.wait_for_selector("#services tr")
    eventually("bars in both charts", lambda: all(page.evaluate(_BARS, name) for name in ("revenue", "orders")))
    return page


def api_summary(shop):
    return json.loads(shop.ask("GET", ANALYTICS, "/api/analytics/summary").text, parse_float=Decimal)


def test_it_shows_the_figures_of_the_api(dashboard, shop, shoot):
    summary = api_summary(shop)
    shown = eventually("the figures", lambda: figure(dashboard, "orders") == str(summary["orders"]["total"]))
    assert shown
    assert Decimal(figure(dashboard, "revenue")) == summary["orders"]["revenue"]
    assert Decimal(figure(dashboard, "average")) == summary["orders"]["averageOrderValue"]
    assert Decimal(figure(dashboard, "stockValue")) == summary["products"]["stockValue"]
    assert figure(dashboard, "newUsers") == str(summary["users"]["total"])
    table = dashboard.inner_text("#services")
    assert all(service.name in table for service in SERVICES)
    assert table.count("up\n") >= len(SERVICES)
    today = "name => Chart.getChart(name).getDatasetMeta(0).data.at(-1).options.backgroundColor"
    for name in ("revenue", "orders"):
        assert dashboard.evaluate("text => CSS.supports('color', text)", dashboard.evaluate(today, name)), name
    shoot(dashboard, "dashboard light")


def test_figures_are_there_without_the_script_and_charts_before_its_first_request(stack, browser, shop, watch):
    shop.get(ANALYTICS, "/api/analytics/summary")
    plain = browser.new_context(java_script_enabled=False)
    page = plain.new_page()
    page.goto(stack.direct(ANALYTICS, "/"))
    assert int(figure(page, "orders")) >= 8 and Decimal(figure(page, "revenue")) > 0
    plain.close()
    lively = browser.new_context()
    page = lively.new_page()
    watch.follow(page)
    asked = []
    page.on("request", lambda request: asked.append(request.url) if request.resource_type == "fetch" else None)
    page.goto(stack.direct(ANALYTICS, "/"))
    assert all(page.evaluate(_BARS, name) for name in ("revenue", "orders"))
    assert [url for url in asked if not url.endswith("/api/services")] == [], "but for the bar's"
    lively.close()


def test_one_range_holds_for_all_figures(dashboard, stack):
    dashboard.click("nav.ranges >> text=7")
    dashboard.wait_for_url("**/?days=7")
    assert "Last 7 days" in dashboard.inner_text("#period-title")
    assert dashboard.get_attribute("nav.ranges a[aria-current]", "href") == "/?days=7"
    assert dashboard.evaluate("Chart.getChart('orders').data.labels.length") == 7
    assert dashboard.locator("#days tr").count() == 7


def test_a_row_leads_to_its_product_and_a_refresh_keeps_the_focus(dashboard, stack, shop):
    row = dashboard.locator("[data-live=sellers] a").first
    assert row.get_attribute("href").startswith(stack.direct(PRODUCT, "/admin/product_svc/product/"))
    row.focus()
    before = figure(dashboard, "orders")
    shop.made(ORDER, "/api/orders", userId="1", productId="12", quantity=1)
    eventually("the new order", lambda: figure(dashboard, "orders") != before)
    assert dashboard.evaluate("document.activeElement.matches('[data-live=sellers] a')")


def test_an_order_appears_by_itself(dashboard, shop):
    before = int(figure(dashboard, "orders"))
    shop.made(ORDER, "/api/orders", userId="1", productId="12", quantity=1)
    eventually("the new order", lambda: int(figure(dashboard, "orders")) == before + 1)
    revenue = api_summary(shop)["orders"]["revenue"]
    eventually("its revenue", lambda: Decimal(figure(dashboard, "revenue")) == revenue)


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
def test_it_fits_a_phone_and_a_tablet_in_both_schemes(dashboard, shoot, width, scheme):
    dashboard.set_viewport_size({"width": width, "height": 844})
    dashboard.emulate_media(color_scheme=scheme)
    fits = "document.documentElement.scrollWidth <= window.innerWidth"  # once the charts have followed
    eventually("nothing runs out of the page", lambda: dashboard.evaluate(fits))
    shoot(dashboard, f"dashboard {width} {scheme}")


def test_the_charts_have_a_table_and_the_headings_are_in_order(dashboard):
    dashboard.click("text=Show as table")
    assert dashboard.locator("#days tr:visible").count() == 30
    for chart in dashboard.locator("canvas").all():
        assert "table below" in chart.get_attribute("aria-label")
    levels = dashboard.eval_on_selector_all("h1,h2,h3,h4", "all => all.map(one => Number(one.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
