"""Formats durations, causes and reasons as plain English."""

import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings

from order_svc.models import Order
from order_svc.services import LATE_MESSAGE
from platform_core.outbox import OutboxMessage
from platform_core.vocabulary import Channel, OrderStatus

REASONS = {
    "insufficient_stock": "there was not enough stock",
    "unknown_product": "there is no such product",
    "unavailable": "product-service did not answer in time",
    "abandoned": "its request ended before the order was confirmed, and recovery rejected it",
}
WHAT = {
    "release": "the release of its stock",
    OrderStatus.CONFIRMED.value: "the confirmation",
    OrderStatus.CANCELLED.value: "the notice of its cancellation",
    OrderStatus.SHIPPED.value: "the notice of its shipping",
}
DELIVERED_BY = {Channel.EMAIL.value: "mailed", Channel.LOG.value: "written to the log"}
MOST_SHORTAGES = 3
"""Limit of the products that a rejection names."""
LATE = LATE_MESSAGE
"""The longest time that recovery or the delivery of a message takes in normal operation."""
_SPANS = ((0.1, 0.001, "ms", 0), (10, 1, "s", 1), (120, 1, "s", 0), (7200, 60, "min", 0), (172_800, 3600, "h", 0))
_SILENCE = re.compile(r"Peer(Unreachable|ConnectionFailed|Dropped|Timeout|Resting|Busy|Failed)\b")


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s"


def duration_text(duration: timedelta) -> str:
    """A duration with about two digits: ``12 ms``, ``0.2 s``, ``75 s``, ``12 min``, ``3 h``, ``4 days``."""
    seconds = max(0.0, duration.total_seconds())
    for limit, unit, name, digits in _SPANS:
        if seconds < limit:
            return f"{seconds / unit:.{digits}f} {name}"
    return f"{seconds / 86_400:.0f} days"


def rejection_text(order: Order) -> str:
    """Why an order was rejected, with the quantities if the stock was not enough."""
    reason = REASONS.get(order.reason, order.reason or "the reason was not recorded")
    short = shortages(order)
    if not short:
        return reason
    parts = [f"product {product}: {wanted:,} wanted, {there:,} in stock" for product, (wanted, there) in short.items()]
    if len(parts) == 1:
        parts = [parts[0].partition(": ")[2]]
    more = [f"and {len(parts) - MOST_SHORTAGES} more"] if len(parts) > MOST_SHORTAGES else []
    return f"{reason} ({'; '.join([*parts[:MOST_SHORTAGES], *more])})"


def shortages(order: Order) -> dict[int, tuple[int, int]]:
    """The wanted and the available quantity of each product that was short, by product id."""
    errors = (order.refusal or {}).get("errors", [])
    return {
        int(each["productId"]): (each["requested"], each["available"])
        for each in errors
        if {"productId", "requested", "available"} <= each.keys()
    }


def clock(moment: datetime, seen_at: datetime) -> str:
    """The time of day in the shop's time zone. The date is added if it differs from the date of ``seen_at``."""
    zone = ZoneInfo(settings.SHOP_TIME_ZONE)
    moment, seen_at = moment.astimezone(zone), seen_at.astimezone(zone)
    return moment.strftime("%H:%M:%S" if moment.date() == seen_at.date() else "%Y-%m-%d %H:%M:%S")


def what_of(message: OutboxMessage) -> str:
    """The purpose of a message, from its key: ``order-7-release`` → ``release``."""
    return message.key.rpartition("-")[2]


def cause(message: OutboxMessage) -> str:
    """Why the last attempt failed."""
    if _SILENCE.match(message.last_error):
        return f"{message.destination} does not answer"
    if message.last_error.startswith("CallerRefused"):
        return f"{message.destination} refuses order-service as a caller; its configuration must be corrected"
    if message.last_error.startswith("PeerRefused"):
        return f"{message.destination} refuses it"
    return message.last_error or "no attempt has failed so far"


def delivery_status(message: OutboxMessage, at: datetime) -> str:
    """The delivery status of a message that has not arrived."""
    attempts = counted(message.attempts, "attempt")
    if message.state == OutboxMessage.State.DEAD:
        return f"{cause(message)}; given up after {attempts}"
    if message.leased_until and message.leased_until > at:
        before = f"; the attempt before failed: {cause(message)}" if message.last_error else ""
        return f"attempt {message.attempts} is running{before}"
    if not message.attempts:
        return f"not attempted yet, {_due(message, at)}"
    return f"{cause(message)} ({attempts}, {_due(message, at)})"


def _due(message: OutboxMessage, at: datetime) -> str:
    if message.available_at > at:
        return f"next at {clock(message.available_at, at)}"
    if at - message.available_at < LATE:
        return "due now"
    return f"due since {clock(message.available_at, at)}: does order-service's worker run?"
