"""Recovery rejects orders that are pending for too long."""

import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from order_svc import tasks
from order_svc.models import Order
from order_svc.services import release
from platform_core.db import isolation
from platform_core.events.models import Event
from platform_core.models import FailedItem
from platform_core.outbox.models import OutboxMessage
from platform_core.worker.duties import Duty, work
from tests.admin_pages import act, said
from tests.order_svc.conftest import left_behind
from tests.wire import Caller, at_once, rows_read, somebody_waits_for_a_lock, until

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
    assert left_behind() == (["order.rejected"], [f"order-{order.pk}-release"])
    assert Event.objects.get().data["reason"] == "abandoned"
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
    assert left_behind() == (["order.rejected"], [f"order-{order.pk}-release"])


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
    assert events == ["order.rejected"] * 5
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


POISON = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.id = {order} THEN RAISE unique_violation USING MESSAGE = 'duplicate key'; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER refuse BEFORE UPDATE ON order_svc_order FOR EACH ROW EXECUTE FUNCTION refuse()
"""


@pytest.fixture
def poisoned(pending):
    """Two overdue orders, the older one of which cannot be rejected."""
    bad, good = pending(100), pending(61)
    with connection.cursor() as cursor:
        cursor.execute(POISON.format(order=bad.pk))
    return bad, good


def statuses():
    return dict(Order.objects.values_list("pk", "status"))


def test_an_order_that_cannot_be_rejected_is_named_and_holds_up_no_other(poisoned, caplog):
    bad, good = poisoned
    recover()
    assert statuses() == {bad.pk: "pending", good.pk: "rejected"}
    failed = FailedItem.objects.get()
    assert (failed.duty, failed.item, failed.attempts, failed.parked_at) == ("recovery", str(bad.pk), 1, None)
    assert "duplicate key" in failed.error
    (line,) = [record for record in caplog.records if record.message == "worker.item_failed"]
    assert (line.data["duty"], line.data["item"]) == ("recovery", str(bad.pk))


def test_it_is_tried_again_after_a_delay_that_grows(poisoned):
    recover()
    recover()
    failed = FailedItem.objects.get()
    assert failed.attempts == 1, "not before its delay is over"
    delays = []
    for _ in range(3):
        FailedItem.objects.update(retry_at=now() - timedelta(seconds=1))
        recover()
        failed.refresh_from_db()
        delays.append(failed.retry_at - now())
    assert failed.attempts == 4
    assert timedelta(seconds=3) < delays[0] < delays[1] < delays[2]


def test_it_is_parked_after_many_attempts_and_an_operator_can_retry_it(poisoned, client, admin_client, caplog):
    bad, _ = poisoned
    for _ in range(isolation.MAX_ATTEMPTS):
        recover()
        FailedItem.objects.update(retry_at=now() - timedelta(seconds=1))
    recover()
    failed = FailedItem.objects.get()
    assert failed.attempts == isolation.MAX_ATTEMPTS
    assert failed.parked_at
    assert [record.message for record in caplog.records].count("worker.item_parked") == 1
    health = client.get("/health").json()
    assert health["status"] == "ok"
    assert health["checks"]["duties"] == {"status": "down", "parked": 1, "retried": 0}
    assert b"duty_items_parked 1.0" in client.get("/metrics").content

    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER refuse ON order_svc_order")
    assert said(act(admin_client, FailedItem, "retry", failed)) == ["1 parked items will be tried again."]
    recover()
    assert statuses()[bad.pk] == "rejected"
    assert not FailedItem.objects.exists(), "what succeeded is forgotten"
    assert client.get("/health").json()["checks"]["duties"] == {"status": "ok", "parked": 0, "retried": 0}


def test_a_constraint_is_not_an_unavailable_database(caplog):
    stopping = threading.Event()

    def round_of_work(stopping):
        stopping.set()
        OutboxMessage.objects.create(kind="a", destination="b", aggregate="c", key="d", payload={}, state="nonsense")

    work([Duty("test", round_of_work, pause=0.0)], stopping)
    assert [record.message for record in caplog.records if record.name == "platform.worker"] == ["worker.failed"]


def test_an_order_whose_id_was_given_out_before_is_rejected_and_releases_its_stock(pending):
    """As after a restore of the database: the earlier order's release was delivered long ago."""
    order = pending(61)
    release(order.pk)
    OutboxMessage.objects.update(state="delivered", delivered_at=now(), attempts=3)
    recover()
    order.refresh_from_db()
    assert order.status == "rejected"
    message = OutboxMessage.objects.get()
    assert (message.state, message.attempts, message.delivered_at) == ("pending", 0, None)


def test_recovery_searches_by_index_however_many_items_have_failed(pending, crowd_of_failures):
    good = pending(61)
    with CaptureQueriesContext(connection) as captured:
        recover()
    good.refresh_from_db()
    assert good.status == "rejected"
    searches = [query["sql"] for query in captured if query["sql"].startswith("SELECT")]
    assert max(rows_read(statement) for statement in searches) < 1000


@pytest.fixture
def crowd_of_failures():
    FailedItem.objects.bulk_create(
        FailedItem(duty="recovery", item=str(10**6 + n), attempts=1, error="", failed_at=now(), retry_at=now())
        for n in range(5000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE platform_core_faileditem, order_svc_order")
