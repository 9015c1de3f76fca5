"""Recovery rejects orders that are pending for too long."""

import threading
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils.timezone import now

from order_svc import tasks
from order_svc.models import Order
from platform_core.outbox.models import OutboxMessage
from tests.order_svc.conftest import left_behind
from tests.wire import Caller, at_once, somebody_waits_for_a_lock, until

pytestmark = pytest.mark.django_db


def recover():
    return tasks.recover(threading.Event())


@pytest.fixture
def pending(order_in):
    """Creates a pending order of the given age in seconds."""

    def make(age, key=None, **changes):
        return order_in("pending", created_at=now() - timedelta(seconds=age), idempotency_key=key, **changes)

    return make


def test_an_overdue_order_is_rejected_with_a_reason_and_its_stock_goes_back(api, pending):
    order = pending(61, key="k-1")
    recover()
    order.refresh_from_db()
    assert (order.status, order.reason, order.total, order.idempotency_key) == ("rejected", "abandoned", None, None)
    assert left_behind() == ([], [f"order-{order.pk}-release"])
    assert api.get(f"/api/orders/{order.pk}").json()["status"] == "rejected"


def test_an_order_that_may_still_be_confirmed_is_left_alone(pending):
    order = pending(50)
    recover()
    order.refresh_from_db()
    assert order.status == "pending"
    assert left_behind() == ([], [])


@pytest.mark.parametrize("status", ["confirmed", "rejected", "cancelled", "shipped", "delivered"])
def test_an_old_order_that_is_settled_is_left_alone(order_in, status):
    order = order_in(status, created_at=now() - timedelta(days=1))
    recover()
    order.refresh_from_db()
    assert order.status == status
    assert left_behind() == ([], [])


def test_the_time_limit_of_pending_orders_is_a_setting(pending, settings):
    settings.PENDING_SECONDS = 600
    order = pending(61)
    recover()
    order.refresh_from_db()
    assert order.status == "pending"


def test_repeating_it_changes_nothing(pending):
    order = pending(61)
    recover()
    after = Order.objects.values().get()
    recover()
    assert Order.objects.values().get() == after
    assert left_behind() == ([], [f"order-{order.pk}-release"])


def test_recovery_continues_at_once_after_a_full_batch(pending, monkeypatch):
    monkeypatch.setattr(tasks, "RECOVERY_BATCH", 2)
    orders = [pending(61) for _ in range(3)]
    assert recover() is True
    assert Order.objects.filter(status="rejected").count() == 2
    assert recover() is False
    assert Order.objects.filter(status="rejected").count() == len(orders)


def test_the_original_requests_id_goes_with_the_release(pending):
    pending(61, request_id="abc-1")
    recover()
    assert OutboxMessage.objects.get().request_id == "abc-1"


@pytest.mark.django_db(transaction=True)
def test_two_recoveries_at_once_reject_once(pending):
    orders = [pending(61) for _ in range(5)]
    at_once([recover] * 3)
    assert Order.objects.filter(status="rejected").count() == 5
    events, messages = left_behind()
    assert events == []
    assert sorted(messages) == sorted(f"order-{order.pk}-release" for order in orders)


@pytest.mark.django_db(transaction=True)
def test_a_confirmation_that_is_just_being_committed_wins(pending):
    order = pending(61)
    with transaction.atomic():
        Order.objects.filter(pk=order.pk).update(status="confirmed", total=1, confirmed_at=now())
        recovery = Caller(recover)
        until(somebody_waits_for_a_lock)
    recovery.answer()
    order.refresh_from_db()
    assert order.status == "confirmed"
    assert left_behind() == ([], [])
