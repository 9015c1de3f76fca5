"""Client of notification-service."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from platform_core.clients.engine import call, decoded
from platform_core.topology import NOTIFICATION

PEER = NOTIFICATION.name
MAX_DATA_BYTES = 16_384
"""The largest ``data`` of a message, as JSON in UTF-8."""


class Notification(msgspec.Struct, frozen=True, rename="camel"):
    """A message and the state of its delivery. ``recipient`` is empty until it is known."""

    id: str
    channel: str
    status: str
    attempts: int
    last_error: str | None
    created_at: datetime
    sent_at: datetime | None
    recipient: str | None = ""
    subject: str | None = ""
    message: str | None = ""


class _Page(msgspec.Struct, frozen=True):
    results: list[Notification]


def send_notification(
    key: str,
    *,
    user_id: int,
    type: str,
    subject: str,
    message: str,
    recipient: str | None = None,
    data: Mapping[str, Any] | None = None,
    confidential: bool = False,
) -> None:
    """Send a message to ``recipient``, by default the user's email address at the time of delivery.

    ``data`` has the values for the mail's template, an object of at most 16 KiB as JSON (`MAX_DATA_BYTES`).
    ``key`` is the idempotency key: repeated calls with the same content send it once. The text of a ``confidential``
    message is kept encrypted until it is delivered, and then erased. Raises PeerRefused, PeerUnreachable.
    """
    body: dict[str, Any] = {"userId": str(user_id), "type": type, "subject": subject, "message": message}
    if recipient is not None:
        body["recipient"] = recipient
    if data is not None:
        body["data"] = data
    if confidential:
        body["confidential"] = True
    call(PEER, "POST", "/api/notifications/send", body=body, key=key, expect=201)


def find_notification(key: str, *, timeout: float) -> Notification | None:
    """The message that this service sent with ``key``, or None. Raises PeerRefused, PeerUnreachable."""
    params = {"senderKey": key, "limit": 1}
    answer = call(PEER, "GET", "/api/notifications", params=params, timeout=timeout)
    return next(iter(decoded(PEER, answer, _Page).results), None)
