"""The diagnosis of an order: its state in one sentence, and whether an operator should act."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from django.conf import settings

from order_svc.explaining.facts import Facts, MessageToCustomer, Status
from order_svc.explaining.formatting import (
    DELIVERED_BY,
    LATE,
    WHAT,
    counted,
    delivery_status,
    duration_text,
    rejection_text,
    what_of,
)
from platform_core.outbox import OutboxMessage
from platform_core.topology import PRODUCT
from platform_core.vocabulary import WITHOUT_STOCK, NotificationStatus, ReservationStatus


class Mood(StrEnum):
    WELL = "well"
    WAITING = "waiting"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    text: str
    mood: Mood


def diagnose(facts: Facts) -> Diagnosis:
    if facts.order.status == Status.PENDING:
        return _pending(facts)
    opening = facts.order.status.capitalize()
    if facts.order.status == Status.REJECTED:
        opening += f": {rejection_text(facts.order)}"
    return _with_open_ends(facts, opening)


def _pending(facts: Facts) -> Diagnosis:
    age = f"Pending for {duration_text(facts.age)}"
    if not facts.is_overdue:
        return Diagnosis(f"{age}: it is being placed, or recovery will reject it.", Mood.WAITING)
    if facts.age < timedelta(seconds=settings.PENDING_SECONDS) + LATE:
        return Diagnosis(f"{age}: recovery will reject it within seconds.", Mood.WAITING)
    return Diagnosis(f"{age}: recovery should have rejected it. Does order-service's worker run?", Mood.STUCK)


def _with_open_ends(facts: Facts, opening: str) -> Diagnosis:
    """Reports the first problem, with stock before mails. Without a problem, reports the customer's last notice."""
    found = _release(facts) or _books(facts) or _undelivered(facts)
    return Diagnosis(f"{opening}; {found.text}", found.mood) if found else _last_notice(facts, opening)


def _release(facts: Facts) -> Diagnosis | None:
    message = facts.message("release")
    if message is None or message.state == OutboxMessage.State.DELIVERED:
        return None
    if facts.held_stock is False and facts.order.refusal:
        return _delivery_diagnosis(facts, message, "no stock is held, but its release is not confirmed yet")
    return _delivery_diagnosis(facts, message, "its stock is not released yet")


def _books(facts: Facts) -> Diagnosis | None:
    """Compares the order with its reservation at product-service. `manage.py verify` does so for all orders."""
    if PRODUCT.name in facts.unknown:
        return None
    has_ended = facts.order.status in WITHOUT_STOCK
    is_held = facts.reservation is not None and facts.reservation.status == ReservationStatus.RESERVED
    if has_ended and is_held:
        return Diagnosis("yet product-service holds stock for it, and no message will release it.", Mood.STUCK)
    if not has_ended and not is_held:
        return Diagnosis("yet product-service holds no stock for it.", Mood.STUCK)
    return None


def _undelivered(facts: Facts) -> Diagnosis | None:
    for message in facts.undelivered:
        return _delivery_diagnosis(facts, message, f"{WHAT.get(what_of(message), message.key)} is not handed over yet")
    return None


def _delivery_diagnosis(facts: Facts, message: OutboxMessage, what: str) -> Diagnosis:
    is_fresh = facts.as_of - message.created_at < LATE and message.state == OutboxMessage.State.PENDING
    text = f"{what}: {delivery_status(message, facts.as_of)}"
    return Diagnosis(text if text.endswith("?") else f"{text}.", Mood.WAITING if is_fresh else Mood.STUCK)


def _last_notice(facts: Facts, opening: str) -> Diagnosis:
    """All messages were handed over. Reports a notice that failed, otherwise the newest one."""
    if facts.order.status == Status.CANCELLED:
        opening += "; its stock is released, and "
    elif facts.notices:
        opening += "; "
    else:
        return Diagnosis(f"{opening}.", Mood.WELL)
    note = next((note for note in facts.notices if note.status == NotificationStatus.FAILED), facts.notices[-1])
    text, mood = _delivery(facts, note)
    return Diagnosis(f"{opening}{text}.", mood)


def _delivery(facts: Facts, note: MessageToCustomer) -> tuple[str, Mood]:
    name, found = WHAT[note.what], note.found
    if found is None and note.is_known:
        return f"notification-service has no message for {name}", Mood.STUCK
    if found is None:
        return f"whether {name} was mailed is not known at the moment", Mood.WAITING
    tries = counted(found.attempts, "attempt")
    if found.status == NotificationStatus.FAILED:
        return f"{name} could not be mailed ({tries}: {found.last_error})", Mood.STUCK
    if found.sent_at is None:
        failed = f" ({tries}: {found.last_error})" if found.attempts else ""
        return f"{name} is waiting to be mailed{failed}", Mood.WAITING
    verb = DELIVERED_BY.get(found.channel, f"sent by {found.channel}")
    return f"{name} was {verb} {duration_text(found.sent_at - facts.became(note.what))} later", Mood.WELL
