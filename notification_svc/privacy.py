"""What notification-service holds of a person: the messages to them."""

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import Case, F, Q, QuerySet, TextField, Value, When
from django.db.models.functions import Now
from django.utils.timezone import now

from notification_svc.models import DevelopmentMail, Notification
from notification_svc.services import ERASED, NOTHING, announce, delivery_key
from platform_core.outbox import OutboxMessage
from platform_core.privacy import PersonalData
from platform_core.vocabulary import NotificationStatus

BATCH = 500


@transaction.atomic
def erase(user_id: int) -> bool:
    """Erases the content of one batch of messages. Those that were not delivered become failed.

    A message whose delivery is running keeps its status: its attempt decides, and is the last one.
    """
    DevelopmentMail.objects.filter(user_id=user_id).delete()
    left = Notification.objects.filter(user_id=user_id, erased_at=None).order_by("pk")
    batch = list(left.values_list("pk", flat=True)[:BATCH])
    running = _end_deliveries(batch)
    errors = Case(
        When(last_error=None, then=None),
        default=Value(ERASED),
        output_field=TextField(),
    )
    rows = Notification.objects.filter(pk__in=batch)
    rows.update(**NOTHING, erased_at=Now(), last_error=errors, version=F("version") + 1, updated_at=now())
    waiting = rows.filter(status=NotificationStatus.QUEUED).exclude(pk__in=running)
    failed = list(waiting.values_list("pk", flat=True))
    Notification.objects.filter(pk__in=failed).update(status=NotificationStatus.FAILED, last_error=ERASED)
    for notification in Notification.objects.filter(pk__in=failed):
        announce(notification)
    return len(batch) == BATCH


def _end_deliveries(batch: Sequence[int]) -> list[int]:
    """Ends the deliveries of these notifications that are not running. Returns the ids of those that are."""
    messages = OutboxMessage.objects.filter(key__in=[delivery_key(pk) for pk in batch])
    pending = list(messages.filter(state=OutboxMessage.State.PENDING).select_for_update().order_by("pk"))
    waiting = [message.pk for message in pending if message.lease is None]
    OutboxMessage.objects.filter(pk__in=waiting).update(state=OutboxMessage.State.DEAD)
    messages.exclude(Q(last_error="") & ~Q(pk__in=waiting)).update(last_error=ERASED)
    return [message.payload["notificationId"] for message in pending if message.lease is not None]


def rows(user_id: int) -> Sequence[QuerySet[Any]]:
    """The person's messages."""
    return [Notification.objects.filter(user_id=user_id)]


PERSONAL_DATA = PersonalData(erase, rows)
