"""The days of reports are those of SHOP_TIME_ZONE."""

from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import call_command

from analytics_svc import reports
from analytics_svc.models import FeedPosition

pytestmark = pytest.mark.django_db
PRICE = Decimal("19.99")


@pytest.fixture
def at_time(monkeypatch):
    """Sets the time at which reports are made."""

    def at_time(moment: str) -> None:
        monkeypatch.setattr(reports, "now", lambda: datetime.fromisoformat(moment))

    return at_time


@pytest.fixture
def placed(shop):
    """Places an order of 39.98 at each of the given times."""

    def placed(*moments: str) -> None:
        for moment in moments:
            shop.order(len(shop.orders.events) + 1)
            shop.orders.events[-1]["data"]["createdAt"] = moment

    return placed


def days(found) -> dict[str, int]:
    return {each["date"]: each["orders"] for each in found["byDay"] if each["orders"]}


@pytest.mark.parametrize(
    "zone, moments, expected",
    [
        ("UTC", ("2026-01-14T23:59:59Z", "2026-01-15T00:00:00Z"), {"2026-01-14": 1, "2026-01-15": 1}),
        ("Europe/Berlin", ("2026-01-14T22:59:59Z", "2026-01-14T23:00:00Z"), {"2026-01-14": 1, "2026-01-15": 1}),
        ("America/New_York", ("2026-01-15T04:59:59Z", "2026-01-15T05:00:00Z"), {"2026-01-14": 1, "2026-01-15": 1}),
        ("Asia/Kathmandu", ("2026-01-14T18:14:59Z", "2026-01-14T18:15:00Z"), {"2026-01-14": 1, "2026-01-15": 1}),
        ("Pacific/Kiritimati", ("2026-01-14T09:59:59Z", "2026-01-14T10:00:00Z"), {"2026-01-14": 1, "2026-01-15": 1}),
        # The 29th of March had 23 hours in Berlin, the 25th of October has 25.
        ("Europe/Berlin", ("2026-03-28T22:59:59Z", "2026-03-28T23:00:00Z"), {"2026-03-28": 1, "2026-03-29": 1}),
        ("Europe/Berlin", ("2026-03-29T21:59:59Z", "2026-03-29T22:00:00Z"), {"2026-03-29": 1, "2026-03-30": 1}),
        ("Europe/Berlin", ("2026-10-24T21:59:59Z", "2026-10-24T22:00:00Z"), {"2026-10-24": 1, "2026-10-25": 1}),
        ("Europe/Berlin", ("2026-10-25T22:59:59Z", "2026-10-25T23:00:00Z"), {"2026-10-25": 1, "2026-10-26": 1}),
    ],
)
def test_an_order_counts_on_the_day_that_it_was_in_the_shop(settings, at_time, placed, report, zone, moments, expected):
    settings.SHOP_TIME_ZONE = zone
    at_time("2026-12-01T12:00:00+00:00")
    placed(*moments)
    found = report("orders", "?days=366")
    assert days(found) == expected
    assert found["timeZone"] == zone
    assert {each["revenue"] for each in found["byDay"] if each["orders"]} == {Decimal("39.98")}


@pytest.mark.parametrize(
    "zone, moment, today",
    [
        ("Europe/Berlin", "2026-03-28T22:59:59+00:00", "2026-03-28"),
        ("Europe/Berlin", "2026-03-28T23:00:00+00:00", "2026-03-29"),
        ("Europe/Berlin", "2026-10-25T22:59:59+00:00", "2026-10-25"),
        ("America/New_York", "2026-01-15T04:59:59+00:00", "2026-01-14"),
        ("UTC", "2026-01-15T00:00:00+00:00", "2026-01-15"),
    ],
)
def test_the_series_ends_with_today_in_the_shop_and_has_every_day_once(
    settings, shop, at_time, report, zone, moment, today
):
    settings.SHOP_TIME_ZONE = zone
    at_time(moment)
    shop.user(1)
    shop.users.events[-1]["data"]["createdAt"] = datetime.fromisoformat(moment).astimezone(UTC).isoformat()
    for name in ("orders", "users", "notifications"):
        dates = [each["date"] for each in report(name, "?days=40")["byDay"]]
        assert dates[-1] == today
        assert len(set(dates)) == 40 and dates == sorted(dates)
    assert report("users")["newToday"] == report("summary")["users"]["newToday"] == 1


def test_another_time_zone_holds_after_a_rebuild_and_figures_stay_right_until_then(
    settings, at_time, shop, placed, report
):
    at_time("2026-01-20T12:00:00+00:00")
    placed("2026-01-14T23:30:00Z")
    assert days(report("orders")) == {"2026-01-14": 1}
    settings.SHOP_TIME_ZONE = "Europe/Berlin"
    placed("2026-01-15T23:30:00Z")
    shop.order(1, "cancelled", version=3)
    shop.orders.events[-1]["data"]["createdAt"] = "2026-01-14T23:30:00Z"
    found = report("orders")
    assert (found["timeZone"], days(found)) == ("UTC", {"2026-01-14": 1, "2026-01-15": 1})
    assert [each["revenue"] for each in found["byDay"] if each["orders"]] == [0, Decimal("39.98")]
    call_command("rebuild", stdout=StringIO())
    found = report("orders")
    assert (found["timeZone"], days(found)) == ("Europe/Berlin", {"2026-01-15": 1, "2026-01-16": 1})
    assert [each["revenue"] for each in found["byDay"] if each["orders"]] == [0, Decimal("39.98")]
    assert set(FeedPosition.objects.filter(live=True).values_list("time_zone", flat=True)) == {"Europe/Berlin"}


def test_a_time_at_the_end_of_the_calendar_is_parked_and_holds_up_nothing(settings, placed, report):
    settings.SHOP_TIME_ZONE = "Pacific/Kiritimati"
    placed("9999-12-31T23:30:00Z", "0001-01-01T00:30:00Z", "2026-01-14T23:30:00Z")
    assert report("orders")["total"] == 1


@pytest.mark.parametrize("name", ["summary", "users", "products", "orders", "notifications"])
def test_every_report_says_its_currency_and_time_zone(settings, shop, report, name):
    settings.CURRENCY, settings.SHOP_TIME_ZONE = "JPY", "Asia/Tokyo"
    found = report(name)
    assert (found["currency"], found["timeZone"]) == ("JPY", "Asia/Tokyo")


def test_amounts_of_a_currency_without_decimals_have_none(settings, shop, api):
    settings.CURRENCY = "JPY"
    for order_id in (1, 2, 3):
        shop.order(order_id, items=((11, 1, Decimal(100 + order_id % 2)),))
    shop.product(11, price=Decimal(100), stock=3)
    text = api.get("/api/analytics/orders?days=1").content.decode()
    assert '"revenue":302,"averageOrderValue":101' in text
    assert '"stockValue":300,' in api.get("/api/analytics/products").content.decode()
