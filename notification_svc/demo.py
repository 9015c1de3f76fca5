"""The notifications of demo orders, written as delivered. No mail is sent."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from msgspec import Struct

from notification_svc.models import Notification
from notification_svc.services import snapshot
from platform_core.api import fingerprint_of
from platform_core.auth import Kind
from platform_core.db import PastEvent, new_ids, sketch, writing
from platform_core.outbox import Message
from platform_core.tools import DEMO, Batch, Spec, encoded
from platform_core.topology import ORDER
from platform_core.vocabulary import EventType, MessageKind

CALLER: Final = f"{Kind.SERVICE}:{ORDER.name}"
"""The caller that `idempotency.caller_of` gives for order-service. A resent message finds its earlier copy by it."""
_ON_ITS_WAY = timedelta(seconds=1)


class Sent(Struct):
    message: Message
    at: datetime


class Sale(Struct):
    """The part of an order that this service needs: the messages that order-service has sent.

    ``mail`` has the ``recipient`` and the ``data`` that order-service adds to those that are mails.
    """

    messages: list[Sent]
    mail: dict[str, Any] = {}


def accept(spec: Spec, batches: Iterator[Batch]) -> Iterator[Batch]:
    """Writes the orders' messages to customers as sent."""
    for batch in batches:
        sales = [msgspec.json.decode(row, type=Sale) for row in batch.rows]
        made = [
            _notification(sent, sale.mail)
            for sale in sales
            for sent in sale.messages
            if sent.message.kind == MessageKind.NOTIFICATION_SEND
        ]
        if made:
            batch.written |= _keep(sorted(made, key=lambda notification: notification.created_at))
        yield batch


def _notification(sent: Sent, mail: dict[str, Any]) -> Notification:
    payload = sent.message.payload
    sent_at = sent.at + _ON_ITS_WAY
    return sketch(
        Notification,
        **payload,
        recipient=mail["recipient"],
        data=encoded(mail["data"]).decode(),
        channel=Notification.Channel.EMAIL.value,
        status=Notification.Status.SENT.value,
        attempts=1,
        version=2,
        created_at=sent.at,
        updated_at=sent_at,
        sent_at=sent_at,
        caller=CALLER,
        sender_key=sent.message.key,
        fingerprint=_fingerprint(payload, mail),
    )


def _fingerprint(payload: Any, mail: dict[str, Any]) -> bytes:
    """The fingerprint of the request that `clients.notifications.send_notification` would make."""
    body = {"userId": str(payload["user_id"]), **{name: payload[name] for name in ("type", "subject", "message")}}
    body |= mail
    return fingerprint_of("/api/notifications/send", body)


def _keep(notifications: list[Notification]) -> dict[str, int]:
    for notification, pk in zip(notifications, new_ids(Notification, len(notifications)), strict=True):
        notification.pk = pk
    with writing() as writer:
        writer.copy(notifications)
        writer.append(
            DEMO, (PastEvent(n.updated_at, EventType.NOTIFICATION_SENT, n.pk, snapshot(n)) for n in notifications)
        )
    return writer.written


STEPS = {"accept": accept}
