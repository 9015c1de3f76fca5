"""Times of the queue are Postgres' times: a process whose clock is a day off changes nothing."""

import threading
from datetime import timedelta

import django.utils.timezone
import pytest
from django.db import connection

from order_svc import tasks
from order_svc.models import Order
from platform_core.events.models import Event, FeedConsumer
from platform_core.models import IdempotencyKey
from platform_core.outbox.models import OutboxMessage
from platform_core.outbox.queue import Message, claim, enqueue, settle_delivered
from platform_core.worker.housekeeping import HOUSEKEEPING, expire_keys

pytestmark = pytest.mark.django_db(transaction=True)
STOPPING = threading.Event()


@pytest.fixture(params=[1, -1], ids=["a day ahead", "a day behind"])
def off(request, monkeypatch):
    """Sets this process's clock off, wherever a module has imported Django's `now`."""
    wrong = django.utils.timezone.now() + timedelta(days=request.param)
    real = django.utils.timezone.now
    import sys

    for module in list(sys.modules.values()):
        if getattr(module, "now", None) is real:
            monkeypatch.setattr(module, "now", lambda: wrong)
    return wrong


def aged(model, column, age):
    """Sets a time of all rows by Postgres' clock."""
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {model._meta.db_table} SET {column} = now() - %s", [age])


def test_keys_expire_by_the_databases_clock(api, off):
    body = {"name": "Ann", "label": "ann@example.com", "text": "x"}
    first = api.post("/api/notes", body, headers={"Idempotency-Key": "k"})
    assert first.status_code == 201
    aged(IdempotencyKey, "created_at", timedelta(hours=23))
    expire_keys(STOPPING)
    again = api.post("/api/notes", body, headers={"Idempotency-Key": "k"})
    assert (again["Idempotent-Replayed"], again.json()) == ("true", first.json())
    aged(IdempotencyKey, "created_at", timedelta(hours=25))
    expire_keys(STOPPING)
    assert not IdempotencyKey.objects.exists()


def test_a_new_key_has_the_databases_time(api, off):
    body = {"name": "Ann", "label": "ann@example.com", "text": "x"}
    api.post("/api/notes", body, headers={"Idempotency-Key": "k"})
    with connection.cursor() as cursor:
        cursor.execute("SELECT abs(extract(epoch FROM now() - created_at)) < 600 FROM platform_core_idempotencykey")
        assert cursor.fetchall() == [(True,)]


def test_orders_are_overdue_by_the_databases_clock(off):
    order = Order.objects.create(user_id=1, status="pending", currency="USD", steps={})
    aged(Order, "created_at", timedelta(seconds=50))
    tasks.recover(STOPPING)
    order.refresh_from_db()
    assert order.status == "pending"
    aged(Order, "created_at", timedelta(seconds=70))
    tasks.recover(STOPPING)
    order.refresh_from_db()
    assert order.status == "rejected"


def test_events_and_consumers_are_kept_by_the_databases_clock(off, settings):
    settings.EVENT_RETENTION_DAYS = 1
    Event.objects.create(epoch=1, txid=1, type="x", subject="1", data={}, time="2026-01-01T00:00:00Z")
    FeedConsumer.objects.create(name="x", epoch=9, txid=9, sequence=9, seen_at="2026-01-01T00:00:00Z")
    aged(Event, "time", timedelta(hours=23))
    aged(FeedConsumer, "seen_at", timedelta(hours=71))
    HOUSEKEEPING.run(STOPPING)
    assert (Event.objects.count(), FeedConsumer.objects.count()) == (1, 1)
    aged(Event, "time", timedelta(hours=25))
    HOUSEKEEPING.run(STOPPING)
    assert (Event.objects.count(), FeedConsumer.objects.count()) == (0, 1)
    aged(FeedConsumer, "seen_at", timedelta(hours=73))
    HOUSEKEEPING.run(STOPPING)
    assert FeedConsumer.objects.count() == 0


def test_delivered_messages_are_deleted_after_their_retention(off, settings, monkeypatch):
    """By Postgres' clock, in batches, and never a message that waits or a dead letter."""
    monkeypatch.setattr("platform_core.outbox.retention.BATCH", 3)
    settings.OUTBOX_RETENTION_DAYS = 7
    enqueue(*(Message("note", "there", f"thing:{n}", f"k{n}", {}) for n in range(10)))
    handler = tasks.Handler(lambda message: None)
    for message in claim("there", 8):
        settle_delivered(message, handler)
    aged(OutboxMessage, "delivered_at", timedelta(days=6, hours=23))
    OutboxMessage.objects.filter(state="pending").update(delivered_at=None)
    OutboxMessage.objects.filter(key="k9").update(state="dead")
    assert HOUSEKEEPING.run(STOPPING) is False
    assert OutboxMessage.objects.count() == 10
    aged(OutboxMessage, "delivered_at", timedelta(days=7, hours=1))
    assert [HOUSEKEEPING.run(STOPPING) for _ in range(3)] == [True, True, False]
    assert dict(OutboxMessage.objects.values_list("key", "state")) == {"k8": "pending", "k9": "dead"}
