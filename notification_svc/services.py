"""Use cases of notification-service."""

from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now
from django.utils.timezone import now

from notification_svc.models import Notification
from platform_core.api import Claim
from platform_core.events import NewEvent, append
from platform_core.outbox import Message, OutboxMessage, enqueue, redrive
from platform_core.vocabulary import EventType, MessageKind, NotificationStatus


class Accepted(NamedTuple):
    notification: Notification
    is_replay: bool


@transaction.atomic
def accept(content: dict[str, Any], claim: Claim | None = None) -> Accepted:
    """Stores a message and queues its delivery. A repeated key gets the first answer again.

    Raises Unprocessable if the key was used with another message, Conflict while a request with the same key runs.
    """
    if claim:
        claim.hold()
        earlier = accepted_earlier(claim)
        if earlier:
            return earlier
        content = {**content, "caller": claim.caller, "sender_key": claim.key, "fingerprint": claim.fingerprint}
    notification = Notification.objects.create(**content)
    enqueue(delivery_of(notification))
    return Accepted(notification, is_replay=False)


def accepted_earlier(claim: Claim) -> Accepted | None:
    """The first answer to the claim's key, if it is known. Raises Unprocessable if it was used with another message."""
    earlier = Notification.objects.filter(caller=claim.caller, sender_key=claim.key).first()
    if earlier is None:
        return None
    assert earlier.fingerprint is not None
    claim.check(earlier.fingerprint)
    return Accepted(_as_first_answered(earlier), is_replay=True)


def _as_first_answered(notification: Notification) -> Notification:
    notification.status = Notification.Status.QUEUED
    notification.attempts = 0
    notification.last_error = notification.sent_at = None
    return notification


def delivery_of(notification: Notification) -> Message:
    return Message(
        kind=MessageKind.NOTIFICATION_DELIVER,
        destination=notification.channel,
        aggregate=f"notification:{notification.pk}",
        key=f"notification-{notification.pk}",
        payload={"notificationId": notification.pk},
    )


def mark_sent(notification_id: int, attempts: int) -> None:
    """Marks the notification as sent. Runs, like `mark_failed`, in the transaction that ends the delivery."""
    _settle(notification_id, NotificationStatus.SENT, attempts=attempts, sent_at=Now(), last_error=None)


def mark_failed(notification_id: int, attempts: int, error: str, *, final: bool) -> None:
    """Records a failed attempt. After the last attempt the notification is ``failed``."""
    changes = {"attempts": attempts, "last_error": error[:2000]}
    if final:
        _settle(notification_id, NotificationStatus.FAILED, **changes)
    else:
        Notification.objects.filter(pk=notification_id, status=NotificationStatus.QUEUED).update(**changes)


def _settle(notification_id: int, status: NotificationStatus, **changes: Any) -> None:
    rows = Notification.objects.filter(pk=notification_id).exclude(status=NotificationStatus.SENT)
    if rows.update(status=status, version=F("version") + 1, updated_at=now(), **changes):
        notification = Notification.objects.get(pk=notification_id)
        append(NewEvent(EventType.of_notification(status), notification_id, snapshot(notification)))


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


def retry(notifications: QuerySet[Notification]) -> int:
    """Resends failed notifications with a fresh count of attempts. Returns how many there were."""
    count = 0
    for notification in notifications.filter(status=NotificationStatus.FAILED):
        with transaction.atomic():
            failed = Notification.objects.filter(pk=notification.pk, status=NotificationStatus.FAILED)
            if failed.update(status=NotificationStatus.QUEUED):
                redrive(OutboxMessage.objects.filter(key=f"notification-{notification.pk}"))
                count += 1
    return count
