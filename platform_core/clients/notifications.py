"""notification-service, as its peers see it."""

from datetime import datetime

import msgspec

from platform_core.clients.engine import call, decoded
from platform_core.topology import NOTIFICATION

PEER = NOTIFICATION.name


class Notification(msgspec.Struct, frozen=True, rename="camel"):
    """What became of a message; what it says and to whom is not asked for."""

    id: str
    channel: str
    status: str
    attempts: int
    last_error: str | None
    created_at: datetime
    sent_at: datetime | None


class _Page(msgspec.Struct, frozen=True):
    results: list[Notification]


def send_notification(key: str, *, user_id: int, type: str, subject: str, message: str) -> None:
    """Hand over a message for the user's email address. With the same ``key`` it is taken once.

    Raises PeerRefused, PeerUnreachable.
    """
    body = {"userId": str(user_id), "type": type, "subject": subject, "message": message}
    call(PEER, "POST", "/api/notifications/send", body=body, key=key, expect=201)


def find_notification(key: str, *, timeout: float) -> Notification | None:
    """The message that this service handed over under ``key``. Raises PeerRefused, PeerUnreachable."""
    params = {"senderKey": key, "limit": 1}
    answer = call(PEER, "GET", "/api/notifications", params=params, timeout=timeout)
    return next(iter(decoded(PEER, answer, _Page).results), None)
