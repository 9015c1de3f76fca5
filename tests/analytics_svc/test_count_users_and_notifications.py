"""GET /api/analytics/users and /notifications, and the summary of all."""

from decimal import Decimal

import pytest

from tests.analytics_svc.conftest import at

pytestmark = pytest.mark.django_db


def test_users_and_new_users_per_day(shop, report):
    for user_id, day in ((1, 0), (2, 0), (3, 1), (4, 40)):
        shop.user(user_id, day=day)
    found = report("users", "?days=3")
    assert (found["total"], found["newToday"]) == (4, 2)
    assert found["byDay"] == [{"date": at(day)[:10], "count": count} for day, count in ((2, 0), (1, 1), (0, 2))]
    assert set(found) == {"asOf", "stale", "currency", "timeZone", "total", "newToday", "byDay"}


def test_a_change_of_a_user_is_no_new_user(shop, report):
    shop.user(1)
    shop.user(1, "updated", version=2)
    shop.user(1, "updated", version=3)
    assert (report("users")["total"], report("users")["newToday"]) == (1, 1)


@pytest.mark.parametrize("inverted", [False, True])
def test_a_deleted_user_still_counts_as_new_on_their_day(shop, report, inverted):
    shop.user(1)
    shop.user(2)
    report("users")
    for what, version in [("updated", 2), ("deleted", 3)][:: -1 if inverted else 1]:
        shop.user(1, what, version=version)
    assert (report("users")["total"], report("users")["newToday"]) == (1, 2)


def test_a_user_created_and_deleted_between_two_reads(shop, report):
    shop.user(1)
    shop.user(1, "deleted", version=2)
    assert (report("users")["total"], report("users")["newToday"]) == (0, 1)


def test_notifications_by_status_and_day(shop, report):
    shop.notification(1)
    shop.notification(2, day=1)
    shop.notification(3, "failed")
    found = report("notifications", "?days=2")
    assert (found["total"], found["byStatus"]) == (3, {"sent": 2, "failed": 1})
    assert found["byDay"] == [
        {"date": at(1)[:10], "sent": 1, "failed": 0},
        {"date": at(0)[:10], "sent": 1, "failed": 1},
    ]


def test_a_notification_that_was_sent_in_the_end_has_not_failed(shop, report):
    shop.notification(1, "failed", version=2)
    report("notifications")
    shop.notification(1, "sent", version=3)
    assert report("notifications")["byStatus"] == {"sent": 1, "failed": 0}


def test_the_summary_is_the_headline_of_each(shop, report):
    shop.user(1)
    shop.product(11, stock=0)
    shop.order(1)
    shop.notification(1)
    found = report("summary")
    assert set(found) == {"asOf", "stale", "currency", "timeZone", "users", "products", "orders", "notifications"}
    assert found["users"] == {"total": 1, "newToday": 1}
    assert found["products"] == {"total": 1, "outOfStock": 1, "stockUnits": 0, "stockValue": 0}
    assert found["orders"]["total"] == 1
    assert found["orders"]["revenue"] == found["orders"]["averageOrderValue"] == Decimal("39.98")
    assert found["notifications"] == {"total": 1, "byStatus": {"sent": 1, "failed": 0}}
    for name in ("users", "products", "orders", "notifications"):
        whole = report(name)
        assert {key: whole[key] for key in found[name]} == found[name]
