"""The vocabulary that the services share."""

import pytest

from order_svc.models import Order
from platform_core.vocabulary import (
    COUNTED,
    HOLDING_STOCK,
    PLACED,
    SETTLED,
    UNPLACED,
    WITHOUT_STOCK,
    EventType,
    OrderStatus,
)


def test_every_status_of_an_order_says_whether_it_holds_stock():
    assert sorted([OrderStatus.PENDING, *HOLDING_STOCK, *WITHOUT_STOCK]) == sorted(OrderStatus)


def test_every_status_of_an_order_says_whether_it_was_placed():
    assert sorted([*PLACED, *UNPLACED]) == sorted(OrderStatus)


@pytest.mark.parametrize("status", COUNTED)
def test_every_order_that_is_not_pending_has_an_event(status):
    assert EventType.of_order(status).resource == "order"


def test_a_pending_order_has_no_event():
    assert sorted([*COUNTED, OrderStatus.PENDING]) == sorted(OrderStatus)
    with pytest.raises(ValueError):
        EventType.of_order(OrderStatus.PENDING)


@pytest.mark.parametrize("status", SETTLED)
def test_every_settled_notification_has_an_event(status):
    assert EventType.of_notification(status).resource == "notification"


def test_the_figures_cover_every_resource_with_events():
    assert {each.resource for each in EventType} == {"user", "product", "order", "notification"}


@pytest.mark.django_db
@pytest.mark.parametrize("status", OrderStatus)
def test_the_schema_takes_every_status(status):
    Order.objects.create(user_id=1, currency="EUR", status=status, total=1, confirmed_at="2026-01-01T00:00:00Z")
