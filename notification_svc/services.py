"""Use cases of notification-service."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import Case, F, QuerySet, Value, When
from django.db.models.functions import Now
from django.utils.timezone import now

from notification_svc.models import Notification
from notification_svc.statements import STORE_SENT
from platform_core.api import Claim
from platform_core.auth import BrokenSeal, seal, unseal
from platform_core.db import array, is_erased, prepared_atomic
from platform_core.events import NewEvent, append
from platform_core.outbox import Message, OutboxMessage, PermanentFailure, enqueue, held_values, redrive
from platform_core.vocabulary import EventType, MessageKind, NotificationStatus

NOT_SHOWN = "The text of this message is confidential."
"""What answers and pages have instead of the text of a confidential message."""
_PURPOSE = "confidential messages"
ERASED = "PermanentFailure: the person was erased"
"""The error of a message that was not delivered before its person was erased."""
NOTHING: dict[str, Any] = {
    "recipient": "",
    "subject": "",
    "message": "",
    "data": "",
    "fingerprint": None,
    "sealed": None,
}
"""The columns with a person's data, as they are after the erasure. The fingerprint is a hash of them."""


class Accepted(NamedTuple):
    notification: Notification
    is_replay: bool


@transaction.atomic
def accept(content: dict[str, Any], claim: Claim | None = None) -> Accepted:
    """Stores a message and queues its delivery. A repeated key gets the first answer again.

    A message to a person who was erased is stored without its content, and its delivery fails.

    Raises Unprocessable if the key was used with another message, Conflict while a request with the same key runs.
    """
    if claim:
        claim.hold()
        earlier = accepted_earlier(claim, content)
        if earlier:
            return earlier
        content = {**content, "caller": claim.caller, "sender_key": claim.key, "fingerprint": claim.fingerprint}
    if content.pop("confidential", False):
        content = {**content, "sealed": seal(_PURPOSE, content["message"]), "message": NOT_SHOWN}
    if is_erased(content["user_id"]):
        content = {**content, **NOTHING, "erased_at": Now()}
    notification = Notification.objects.create(**content)
    enqueue(delivery_of(notification))
    return Accepted(notification, is_replay=False)


def accepted_earlier(claim: Claim, content: dict[str, Any] | None = None) -> Accepted | None:
    """The first answer to the claim's key, if it is known. Raises Unprocessable if it was used with another message.

    ``content`` is that of the repetition, which is the same. Without it, ``recipient`` is where the message went. What
    was erased since is left out.
    """
    earlier = Notification.objects.filter(caller=claim.caller, sender_key=claim.key).first()
    if earlier is None:
        return None
    if earlier.erased_at is None:
        assert earlier.fingerprint is not None
        claim.check(earlier.fingerprint)
        if content is not None:
            earlier.recipient = content["recipient"]
    earlier.status = Notification.Status.QUEUED
    earlier.attempts = 0
    earlier.last_error = earlier.sent_at = None
    return Accepted(earlier, is_replay=True)


def text_of(notification: Notification) -> str:
    """The text to deliver. Raises PermanentFailure if it was confidential and has been erased."""
    if notification.sealed is None:
        return notification.message
    if not notification.sealed:
        raise PermanentFailure("The text was confidential and has been erased.")
    try:
        return unseal(_PURPOSE, notification.sealed)
    except BrokenSeal as error:
        raise PermanentFailure(f"The text {error}.") from None


def delivery_key(notification_id: int) -> str:
    """The key of the outbox message that delivers a notification."""
    return f"notification-{notification_id}"


def delivery_of(notification: Notification) -> Message:
    return Message(
        kind=MessageKind.NOTIFICATION_DELIVER,
        destination=notification.channel,
        aggregate=f"notification:{notification.pk}",
        key=delivery_key(notification.pk),
        payload={"notificationId": notification.pk},
    )


def store_sent(messages: Sequence[OutboxMessage], recipients: Sequence[str]) -> set[int]:
    """Stores with one statement that messages of the outbox were delivered, and their notifications sent.

    ``recipients`` are where they went, in the order of the messages. Returns the ids of those whose lease still held.
    """
    values = {
        **held_values(messages),
        "notifications": array(message.payload["notificationId"] for message in messages),
        "recipients": array(recipients),
    }
    return {pk for (pk,) in prepared_atomic(STORE_SENT, values)}


def mark_failed(notification_id: int, attempts: int, error: str, *, final: bool) -> None:
    """Records a failed attempt, in the transaction that ends the delivery.

    After the last one the notification is ``failed``, and a confidential text erased.
    """
    changes = {"attempts": attempts, "last_error": _unless_erased(error[:2000], ERASED)}
    if final:
        _settle(notification_id, NotificationStatus.FAILED, **changes)
    else:
        Notification.objects.filter(pk=notification_id, status=NotificationStatus.QUEUED).update(**changes)


def _settle(notification_id: int, status: NotificationStatus, **changes: Any) -> None:
    rows = Notification.objects.filter(pk=notification_id).exclude(status=NotificationStatus.SENT)
    changes["sealed"] = Case(When(sealed__isnull=False, then=Value("")))
    if rows.update(status=status, version=F("version") + 1, updated_at=now(), **changes):
        announce(Notification.objects.get(pk=notification_id))


def _unless_erased(value: str, otherwise: str) -> Case:
    """``value``, or ``otherwise`` in a row that was erased. Part of the update, which sees the row's last version."""
    return Case(When(erased_at=None, then=Value(value)), default=Value(otherwise))


def announce(notification: Notification) -> None:
    """Appends the event of a notification that was sent or has failed."""
    status = NotificationStatus(notification.status)
    append(NewEvent(EventType.of_notification(status), notification.pk, snapshot(notification)))


def snapshot(notification: Notification) -> dict[str, Any]:
    """The notification as its events carry it. Of two events, the one with the higher version is newer."""
    return {
        "version": notification.version,
        "userId": str(notification.user_id),
        "type": notification.type,
        "channel": notification.channel,
        "status": notification.status,
        "createdAt": notification.created_at,
    }


def can_retry(notification: Notification) -> bool:
    """Whether `retry` sends it again: it has failed, and its text is still there."""
    is_there = notification.sealed is None and notification.erased_at is None
    return notification.status == NotificationStatus.FAILED and is_there


def retry(notifications: QuerySet[Notification]) -> int:
    """Resends failed notifications with a fresh count of attempts. Returns how many there were.

    Left out are erased ones, and confidential ones, whose text has been erased.
    """
    count = 0
    for notification in notifications.filter(status=NotificationStatus.FAILED, sealed=None, erased_at=None):
        with transaction.atomic():
            failed = Notification.objects.filter(pk=notification.pk, status=NotificationStatus.FAILED, erased_at=None)
            if failed.update(status=NotificationStatus.QUEUED):
                redrive(OutboxMessage.objects.filter(key=delivery_key(notification.pk)))
                count += 1
    return count
