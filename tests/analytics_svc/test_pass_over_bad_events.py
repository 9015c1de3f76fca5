"""An invalid event is skipped, logged and counted. It does not block other events."""

import logging

import pytest

from tests.analytics_svc.conftest import at

pytestmark = pytest.mark.django_db
GOOD = {
    "order.confirmed": {"version": 2, "status": "confirmed", "total": 5, "items": [], "createdAt": at(0)},
    "product.created": {"version": 1, "name": "P", "price": 5, "stock": 5, "createdAt": at(0)},
    "user.created": {"version": 1, "createdAt": at(0)},
    "notification.sent": {"version": 2, "status": "sent", "createdAt": at(0)},
}
FEEDS = {"order": "orders", "product": "products", "user": "users", "notification": "notifications"}


def without(type_, name):
    return type_, "9", {key: value for key, value in GOOD[type_].items() if key != name}


def spoiled(type_, **values):
    return type_, "9", {**GOOD[type_], **values}


BAD = [
    *[without(type_, name) for type_, data in GOOD.items() for name in data],
    *[(type_, "9", {}) for type_ in GOOD],
    *[(type_, subject, data) for type_, data in GOOD.items() for subject in ("", "x", str(2**63))],
    *[spoiled(type_, version=version) for type_ in GOOD for version in ("two", None, [], 0, -1, 2**63)],
    *[spoiled(type_, createdAt=moment) for type_ in GOOD for moment in (None, 5, "yesterday", "2026-13-01T00:00:00Z")],
    spoiled("order.confirmed", total="much"),
    spoiled("order.confirmed", total=None),
    spoiled("order.confirmed", total="NaN"),
    spoiled("order.confirmed", total=10**40),
    spoiled("order.confirmed", items=None),
    spoiled("order.confirmed", items=[{}]),
    spoiled("order.confirmed", items=[{"productId": "x", "quantity": 1, "subtotal": 1}]),
    spoiled("order.confirmed", items=[{"productId": str(2**63), "quantity": 1, "subtotal": 1}]),
    spoiled("order.confirmed", items=[{"productId": "1", "quantity": 10**30, "subtotal": 1}]),
    spoiled("order.confirmed", status=["confirmed"]),
    spoiled("order.confirmed", status="x" * 100),
    spoiled("order.confirmed", total="-Infinity"),
    spoiled("order.confirmed", status="pending"),
    spoiled("order.confirmed", createdAt="2026-05-01T00:00:00"),
    spoiled("user.created", createdAt="0001-01-01T00:00:00+14:00"),
    spoiled("product.created", stock="many"),
    spoiled("product.created", stock=2**63),
    spoiled("product.created", price={}),
    spoiled("product.created", price="Infinity"),
    spoiled("product.created", name=None),
    spoiled("product.created", name="x" * 201),
    spoiled("product.created", name="a\x00b"),
    spoiled("notification.sent", status="x" * 100),
]


def total_of(report, type_):
    return report(FEEDS[type_.split(".")[0]])["total"]


@pytest.mark.parametrize("type_, subject, data", BAD)
def test_a_bad_event_is_left_out_and_those_around_it_count(shop, report, caplog, type_, subject, data):
    feed = getattr(shop, FEEDS[type_.split(".")[0]])
    feed.tell(type_, "1", GOOD[type_])
    feed.tell(type_, subject, data)
    feed.tell(type_, "2", GOOD[type_])
    with caplog.at_level(logging.ERROR, "analytics.feeds"):
        assert total_of(report, type_) == 2
    (record,) = [record for record in caplog.records if record.getMessage() == "feed.event_parked"]
    assert record.data["id"] == "1-2-2"
    assert record.data["type"] == type_


@pytest.mark.parametrize("bad", [0, 1, 7, 499, 998, 999])
def test_one_bad_event_among_a_thousand_affects_no_other(shop, report, bad):
    for number in range(1000):
        shop.user(number + 1)
    shop.users.events[bad]["data"] = {}
    assert report("users")["total"] == 999
    shop.user(1001)
    assert report("users")["total"] == 1000


def test_a_thousand_bad_events_are_passed_over(shop, report):
    for _ in range(1000):
        shop.orders.tell("order.confirmed", 1, {})
    shop.order(1)
    found = report("orders")
    assert (found["total"], found["stale"]) == (1, [])


def test_a_bad_event_is_not_read_again(shop, report):
    shop.orders.tell("order.confirmed", 1, {})
    report("orders")
    report("orders")
    assert shop.orders.asked[-1]["lastEventId"] == "1-1-1"


def test_a_bad_event_keeps_the_known_state_of_its_resource(shop, report):
    shop.order(1)
    shop.orders.tell("order.cancelled", 1, {"version": 3, "status": "cancelled"})
    found = report("orders")
    assert (found["total"], found["byStatus"]["confirmed"]) == (1, 1)
    shop.order(1, "cancelled", version=4)
    assert report("orders")["byStatus"]["cancelled"] == 1


@pytest.mark.parametrize("type_", ["order.noted", "order", "", "ORDER.CONFIRMED", "order.confirmed.v2", "invoice.paid"])
def test_events_of_unknown_types_are_skipped(shop, report, caplog, type_):
    shop.orders.tell(type_, "x", {"version": 9})
    shop.order(1)
    with caplog.at_level(logging.ERROR, "analytics.feeds"):
        assert report("orders")["total"] == 1
    assert not caplog.records


def test_members_that_no_figure_needs_may_be_anything(shop, report):
    shop.users.tell("user.created", "1", {**GOOD["user.created"], "note": "a\x00b", "deleted": "?", "isActive": [[]]})
    assert report("users")["total"] == 1


def test_skipped_events_are_counted(shop, report, api):
    shop.orders.tell("order.confirmed", 1, {})
    report("orders")
    lines = api.get("/metrics").content.decode().splitlines()
    counted = [line for line in lines if line.startswith('feed_events_parked_total{service="order-service"}')]
    assert float(counted[0].split()[-1]) >= 1
