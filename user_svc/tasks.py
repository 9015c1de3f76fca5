"""Background work of user-service."""

import threading

from django.utils.timezone import now

from platform_core.clients import erase_person_at
from platform_core.db import attempt_items, due_items
from platform_core.outbox import Handler, Handlers, OutboxMessage, deliver_one
from platform_core.vocabulary import MessageKind
from platform_core.worker import BATCH, HOUSEKEEPING, Duty
from user_svc.models import RefreshToken, Session
from user_svc.services import ERASURE


def forget_sessions(stopping: threading.Event) -> bool:
    """Deletes expired sessions. Their refresh tokens go first and in batches, since a session may have any number.

    Returns whether there may be more.
    """
    overdue = due_items("sessions", Session.objects.filter(expires_at__lt=now())).order_by("expires_at")
    ids = list(overdue.values_list("pk", flat=True)[:BATCH])
    tokens = RefreshToken.objects.filter(session__in=ids)[:BATCH]
    spent = list(tokens.values_list("pk", flat=True))
    RefreshToken.objects.filter(pk__in=spent).delete()
    if len(spent) == BATCH:
        return True
    attempt_items("sessions", ids, lambda some: Session.objects.filter(pk__in=some).delete())
    return len(ids) == BATCH


def _erase(message: OutboxMessage) -> None:
    erase_person_at(message.payload["service"], message.payload["userId"])


ERASING: Handlers = {MessageKind.PERSON_ERASE: Handler(_erase, max_attempts=None, max_delay=600)}


def erase_due(stopping: threading.Event) -> bool:
    """Delivers one command to erase a person. Returns whether there was one."""
    return deliver_one(ERASURE, ERASING)


DUTIES = (
    HOUSEKEEPING,
    Duty("sessions", forget_sessions, pause=60.0),
    Duty("outbox:erasure", erase_due, pause=0.5),
)
