"""Durations, causes and reasons in plain words."""

import re
from datetime import datetime, timedelta

from platform_core.outbox import OutboxMessage
from platform_core.vocabulary import Channel, OrderStatus

REASONS = {
    "insufficient_stock": "there was not enough stock",
    "unknown_product": "there is no such product",
    "unavailable": "product-service did not answer in time",
    "abandoned": "whoever placed it left it pending, and recovery gave it up",
}
WHAT = {
    "release": "the release of its stock",
    OrderStatus.CONFIRMED.value: "the confirmation",
    OrderStatus.CANCELLED.value: "the notice of its cancellation",
    OrderStatus.SHIPPED.value: "the notice of its shipping",
}
DELIVERED_BY = {Channel.EMAIL.value: "mailed", Channel.LOG.value: "written to the log"}
LATE = timedelta(seconds=30)
"""How long recovery, or a message that nothing hinders, may take while all is well."""
_SPANS = ((0.1, 0.001, "ms", 0), (10, 1, "s", 1), (120, 1, "s", 0), (7200, 60, "min", 0), (172_800, 3600, "h", 0))
_SILENCE = re.compile(r"Peer(Unreachable|ConnectionFailed|Dropped|Timeout|Resting|Busy|Failed)\b")


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def lasting(duration: timedelta) -> str:
    """``12 ms``, ``0.2 s``, ``75 s``, ``12 min``, ``3 h``, ``4 days``: two figures are enough for a person."""
    seconds = max(0.0, duration.total_seconds())
    for limit, unit, name, digits in _SPANS:
        if seconds < limit:
            return f"{seconds / unit:.{digits}f} {name}"
    return f"{seconds / 86_400:.0f} days"


def clock(moment: datetime, seen_at: datetime) -> str:
    """The time of day in UTC, with its date when that is another one."""
    return moment.strftime("%H:%M:%S" if moment.date() == seen_at.date() else "%Y-%m-%d %H:%M:%S")


def what_of(message: OutboxMessage) -> str:
    """`release`, `confirmed`, …, from the key `order-7-release`."""
    return message.key.rpartition("-")[2]


def cause(message: OutboxMessage) -> str:
    """Why the last attempt came to nothing."""
    if _SILENCE.match(message.last_error):
        return f"{message.destination} does not answer"
    if message.last_error.startswith("PeerRefused"):
        return f"{message.destination} refuses it"
    return message.last_error or "no attempt has failed so far"


def standing(message: OutboxMessage, at: datetime) -> str:
    """How the delivery of a message stands that has not arrived."""
    attempts = counted(message.attempts, "attempt")
    if message.state == OutboxMessage.State.DEAD:
        return f"{cause(message)}; given up after {attempts}"
    if message.leased_until and message.leased_until > at:
        return f"attempt {message.attempts} is running" + (f"; before, {cause(message)}" if message.last_error else "")
    if not message.attempts:
        return f"not tried yet, {_due(message, at)}"
    return f"{cause(message)} ({attempts}, {_due(message, at)})"


def _due(message: OutboxMessage, at: datetime) -> str:
    if message.available_at > at:
        return f"next at {clock(message.available_at, at)}"
    if at - message.available_at < LATE:
        return "due now"
    return f"due since {clock(message.available_at, at)}: does order-service's worker run?"
