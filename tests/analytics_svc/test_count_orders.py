"""GET /api/analytics/orders."""

from datetime import timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import call_command

from tests.analytics_svc.conftest import at, today
from tests.wire import assert_problem

pytestmark = pytest.mark.django_db
HEAD = {"asOf", "stale", "currency", "timeZone"}


def test_without_orders_all_figures_are_0(shop, report):
    found = report("orders")
    assert set(found) == HEAD | {"total", "byStatus", "revenue", "averageOrderValue", "byDay"}
    assert found["stale"] == []
    assert (found["total"], found["revenue"], found["averageOrderValue"]) == (0, 0, 0)
    assert set(found["byStatus"].values()) == {0}
    assert {"confirmed", "cancelled", "shipped", "delivered"} <= set(found["byStatus"])


def test_every_placed_order_counts_and_revenue_is_what_was_not_cancelled(shop, report):
    for order_id, status in enumerate(("confirmed", "cancelled", "shipped", "delivered", "delivered"), start=1):
        shop.order(order_id)
        if status != "confirmed":
            shop.order(order_id, status, version=3)
    found = report("orders")
    assert found["total"] == 5
    assert found["byStatus"] == {"confirmed": 1, "cancelled": 1, "shipped": 1, "delivered": 2, "rejected": 0}
    assert found["revenue"] == Decimal("159.92")
    assert found["averageOrderValue"] == Decimal("39.98")


def test_figures_follow_the_status_of_an_order(shop, report):
    shop.order(1)
    assert report("orders")["revenue"] == Decimal("39.98")
    shop.order(1, "shipped", version=3)
    assert report("orders")["byStatus"] == {"confirmed": 0, "cancelled": 0, "shipped": 1, "delivered": 0, "rejected": 0}
    shop.order(1, "delivered", version=4)
    found = report("orders")
    assert (found["total"], found["byStatus"]["delivered"], found["revenue"]) == (1, 1, Decimal("39.98"))


def test_a_cancelled_order_takes_its_revenue_back(shop, report):
    shop.order(1)
    shop.order(2)
    report("orders")
    shop.order(1, "cancelled", version=3)
    found = report("orders")
    assert (found["total"], found["revenue"]) == (2, Decimal("39.98"))
    assert found["byDay"][-1] == {"date": today().date().isoformat(), "orders": 2, "revenue": Decimal("39.98")}


@pytest.mark.parametrize("look_between", [False, True])
def test_events_in_the_other_order_and_twice_give_the_same(shop, report, look_between):
    """Overlapping transactions may appear in the feed in any order."""
    for status, version in (("delivered", 4), ("confirmed", 2), ("delivered", 4), ("shipped", 3), ("confirmed", 2)):
        shop.order(1, status, version=version)
        if look_between:
            report("orders")
    shop.order(2, "cancelled", version=3)
    shop.order(2, "confirmed", version=2)
    found = report("orders")
    assert (found["total"], found["revenue"]) == (2, Decimal("39.98"))
    assert found["byStatus"] == {"confirmed": 0, "cancelled": 1, "shipped": 0, "delivered": 1, "rejected": 0}


def test_money_is_exact(shop, report):
    for order_id in range(1, 11):
        shop.order(order_id, items=((11, 1, Decimal("0.1")),))
    shop.order(11, items=((11, 1_000_000, Decimal("9999999999.99")),))
    assert report("orders")["revenue"] == Decimal("9999999999990001.00")


AVERAGES = [("10 10 10.01", "10.00"), ("0.01 0.02", "0.02"), ("0", "0"), ("3.33", "3.33")]


@pytest.mark.parametrize("prices, average", AVERAGES)
def test_the_average_is_rounded_to_the_cent(shop, report, prices, average):
    for order_id, price in enumerate(prices.split(), start=1):
        shop.order(order_id, items=((11, 1, Decimal(price)),))
    assert report("orders")["averageOrderValue"] == Decimal(average)


def test_each_day_has_its_orders_and_days_without_any_are_there(shop, report):
    shop.order(1)
    shop.order(2, day=2)
    shop.order(3, day=2)
    shop.order(3, "cancelled", version=3, day=2)
    shop.order(4, day=29)
    shop.order(5, day=30)
    found = report("orders")
    days = found["byDay"]
    assert [day["date"] for day in days] == [
        (today() - timedelta(days=n)).date().isoformat() for n in range(29, -1, -1)
    ]
    counted = {29 - n: (day["orders"], day["revenue"]) for n, day in enumerate(days) if day["orders"]}
    assert counted == {0: (1, Decimal("39.98")), 2: (2, Decimal("39.98")), 29: (1, Decimal("39.98"))}
    assert found["total"] == 5


@pytest.mark.parametrize("created, day", [("23:59:59.999999Z", 1), ("23:30:00-01:00", 0), ("00:30:00+01:00", 2)])
def test_a_day_is_a_day_in_utc(shop, report, created, day):
    shop.order(1)
    shop.orders.events[0]["data"]["createdAt"] = f"{at(1)[:10]}T{created}"
    days = report("orders", "?days=3")["byDay"][::-1]
    assert [entry["orders"] for entry in days] == [int(n == day) for n in range(3)]


@pytest.mark.parametrize("name", ["users", "orders", "notifications"])
@pytest.mark.parametrize("days", [1, 7, 366])
def test_the_series_is_as_long_as_it_is_asked_for(shop, report, name, days):
    assert len(report(name, f"?days={days}")["byDay"]) == days


@pytest.mark.parametrize("name", ["users", "products", "orders", "notifications", "summary"])
@pytest.mark.parametrize("days", ["0", "367", "-1", "x", "", "1.5", "1e2", "9" * 30, "١"])
def test_a_malformed_length_is_refused_without_reading_the_feeds(api, shop, name, days):
    assert_problem(api.get(f"/api/analytics/{name}?days={days}"), 400, "invalid", ["days"])
    assert not any(feed.asked for feed in shop.feeds.values())


@pytest.mark.parametrize("name", ["users", "products", "orders", "notifications", "summary"])
def test_an_unknown_parameter_is_refused(api, shop, name):
    assert_problem(api.get(f"/api/analytics/{name}?day=7"), 400, "invalid", ["day"])


@pytest.mark.parametrize("name", ["users", "products", "orders", "notifications", "summary"])
def test_reports_are_only_read(api, shop, name):
    for method in ("post", "put", "patch", "delete"):
        assert_problem(getattr(api, method)(f"/api/analytics/{name}"), 405, "method_not_allowed")


@pytest.mark.parametrize("path", ["/api/analytics/nothing", "/api/events"])
def test_an_unknown_report_is_404(api, shop, path):
    assert_problem(api.get(path), 404, "not_found")


def test_a_trailing_slash_makes_no_difference(api, shop):
    shop.order(1)
    assert api.get("/api/analytics/orders/").json()["total"] == 1


def test_a_rejected_order_counts_under_its_status_alone(shop, report):
    shop.order(1)
    shop.order(2, "rejected")
    shop.orders.events[-1]["data"] |= {"total": None}
    for line in shop.orders.events[-1]["data"]["items"]:
        line |= {"name": None, "unitPrice": None, "subtotal": None}
    for _ in range(2):
        found = report("orders")
        assert found["byStatus"] == {"confirmed": 1, "cancelled": 0, "shipped": 0, "delivered": 0, "rejected": 1}
        assert (found["total"], found["revenue"], found["byDay"][-1]["orders"]) == (1, Decimal("39.98"), 1)
        assert [each["units"] for each in report("products")["topSellers"]] == [2]
        call_command("rebuild", stdout=StringIO())


def test_a_placed_order_without_amounts_is_parked(shop, report):
    shop.order(1)
    shop.orders.events[-1]["data"]["total"] = None
    shop.order(2)
    assert report("orders")["total"] == 1
