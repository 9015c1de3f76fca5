"""Background work of user-service."""

import threading
from functools import partial

from django.conf import settings
from django.db.models.functions import Now
from django.utils.timezone import now

from platform_core.clients import erase_person_at
from platform_core.db import attempt_item, attempt_items, due_items
from platform_core.jobs import run_jobs
from platform_core.outbox import Handler, Handlers, Lane, OutboxMessage, deliver_one
from platform_core.topology import NOTIFICATION
from platform_core.vocabulary import MessageKind
from platform_core.worker import BATCH, HOUSEKEEPING, Duty
from user_svc.account_mail import deliver_mail, erase_mail
from user_svc.known_addresses import LIFE
from user_svc.models import AccountToken, KnownAddress, RefreshToken, Session, User
from user_svc.services import ERASURE, forget_token, update_user


def _given_up(message: OutboxMessage, error: str, dead: bool) -> None:
    if dead:
        erase_mail(message)


HANDLERS: Handlers = {
    MessageKind.ACCOUNT_MAIL: Handler(deliver_mail, on_delivered=erase_mail, on_failure=_given_up),
}
NOTIFICATIONS = Lane(NOTIFICATION.name, HANDLERS)


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


def clean_up(stopping: threading.Event) -> bool:
    """One batch of each cleaner. Returns whether there may be more."""
    more = [forget_sessions(stopping), forget_tokens(stopping), forget_addresses(stopping), verify_all(stopping)]
    return any(more)


def verify_all(stopping: threading.Event) -> bool:
    """Without EMAIL_VERIFICATION, marks all addresses as verified. Returns whether there may be more."""
    if settings.EMAIL_VERIFICATION:
        return False
    unverified = due_items("unverified addresses", User.objects.filter(email_verified=False)).order_by("pk")
    ids = list(unverified.values_list("pk", flat=True)[:BATCH])
    for pk in ids:
        attempt_item("unverified addresses", pk, partial(update_user, pk, None, email_verified=True))
    return len(ids) == BATCH


def forget_addresses(stopping: threading.Event) -> bool:
    """Deletes addresses from which nobody has signed in for long. Returns whether there may be more."""
    old = KnownAddress.objects.filter(seen_at__lt=Now() - LIFE).order_by("seen_at")
    keys = list(old.values_list("pk", flat=True)[:BATCH])
    KnownAddress.objects.filter(pk__in=keys).delete()
    return len(keys) == BATCH


def forget_tokens(stopping: threading.Event) -> bool:
    """Deletes mailed tokens that have expired, used or not, and addresses that were not verified in time.

    Returns whether there may be more.
    """
    overdue = AccountToken.objects.filter(expires_at__lt=Now()).order_by("expires_at")
    rows = list(overdue.only("pk", "email", "user", "profile")[:BATCH])
    for row in rows:
        attempt_item("account tokens", bytes(row.pk).hex(), partial(forget_token, row))
    return len(rows) == BATCH


def _erase(message: OutboxMessage) -> None:
    erase_person_at(message.payload["service"], message.payload["userId"])


ERASING: Handlers = {MessageKind.PERSON_ERASE: Handler(_erase, max_attempts=None, max_delay=600)}


def erase_due(stopping: threading.Event) -> bool:
    """Delivers one command to erase a person. Returns whether there was one."""
    return deliver_one(ERASURE, ERASING)


DUTIES = (
    Duty("outbox:notification", NOTIFICATIONS.run, pause=0.1, finish=NOTIFICATIONS.finish),
    HOUSEKEEPING,
    Duty("sessions", clean_up, pause=60.0),
    Duty("jobs", run_jobs, pause=1.0),
    Duty("outbox:erasure", erase_due, pause=0.5),
)
