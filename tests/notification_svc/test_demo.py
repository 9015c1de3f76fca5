"""The demo's messages exist as sent, but no mail is sent."""

import json
from datetime import UTC, datetime

import pytest
from django.core import mail

from notification_svc import demo
from notification_svc.models import Notification
from platform_core.events.models import Event
from platform_core.outbox.models import OutboxMessage
from platform_core.tools.demo_data import Batch, Spec, raw
from platform_core.topology import NOTIFICATION, ORDER
from tests import people

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 6, 17, 12, tzinfo=UTC)
BODY = {"type": "order_confirmed", "subject": "Order 5 is confirmed", "message": "Thank you – 2 × Lampe"}
MAIL = {"recipient": "ann@example.com", "data": {"orderId": "5", "customer": {"name": "Ann"}, "lines": []}}
PLACE = {"destination": "notification-service", "aggregate": "order:5"}


@pytest.fixture
def kept() -> Notification:
    confirmed = {"kind": "notification.send", "key": "order-5-confirmed", "payload": {"user_id": 7, **BODY}, **PLACE}
    release = {"kind": "stock.release", "key": "order-5-release", "payload": {"orderId": 5}, **PLACE}
    row = raw({"messages": [{"message": message, "at": NOW} for message in (release, confirmed)], "mail": MAIL})
    spec = Spec(seed=1, users=1, products=1, orders=1, now=NOW)
    (batch,) = demo.accept(spec, iter([Batch("orders", 1, [row])]))
    assert batch.rows == [row]
    return Notification.objects.get()


def test_a_sent_message_has_the_status_and_an_event(kept):
    assert (kept.status, kept.user_id, kept.type, kept.channel) == ("sent", 7, "order_confirmed", "email")
    assert (kept.recipient, json.loads(kept.data)) == (MAIL["recipient"], MAIL["data"])
    assert kept.created_at < kept.sent_at == kept.updated_at
    event = Event.objects.get()
    assert (event.type, event.subject, event.data["version"]) == ("notification.sent", str(kept.pk), kept.version)
    assert not OutboxMessage.objects.exists()
    assert mail.outbox == []


@pytest.mark.usefixtures("known_callers")
def test_the_same_message_from_order_service_is_taken_for_a_repetition(api, kept):
    body = {"userId": "7", **BODY, **MAIL}
    headers = {"Idempotency-Key": "order-5-confirmed", **people.as_service(ORDER, NOTIFICATION)}
    answer = api.post("/api/notifications/send", body, headers=headers)
    assert answer.status_code == 201
    assert answer["Idempotent-Replayed"] == "true"
    assert answer.json()["id"] == str(kept.pk)
    assert Notification.objects.count() == 1
