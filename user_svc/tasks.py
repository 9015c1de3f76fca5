"""Background work of user-service."""

import threading

from django.utils.timezone import now

from platform_core.worker import BATCH, HOUSEKEEPING, Duty
from user_svc.models import RefreshToken, Session


def forget_sessions(stopping: threading.Event) -> bool:
    """Delete sessions whose time is over, their refresh tokens first, for there is no telling how many one has.

    True when there may be more.
    """
    overdue = Session.objects.filter(expires_at__lt=now()).order_by("expires_at")
    ids = list(overdue.values_list("pk", flat=True)[:BATCH])
    tokens = RefreshToken.objects.filter(session__in=ids)[:BATCH]
    spent = list(tokens.values_list("pk", flat=True))
    RefreshToken.objects.filter(pk__in=spent).delete()
    if len(spent) == BATCH:
        return True
    Session.objects.filter(pk__in=ids).delete()
    return len(ids) == BATCH


DUTIES = (HOUSEKEEPING, Duty("sessions", forget_sessions, pause=60.0))
