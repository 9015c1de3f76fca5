"""One plain sentence about how an order is, and whether somebody should do something about it."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from django.conf import settings

from order_svc.explaining.life import Life, MessageToCustomer, Status
from order_svc.explaining.words import DELIVERED_BY, LATE, REASONS, WHAT, counted, lasting, standing, what_of
from platform_core.outbox import OutboxMessage
from platform_core.topology import PRODUCT
from platform_core.vocabulary import WITHOUT_STOCK, NotificationStatus, ReservationStatus


class Mood(StrEnum):
    WELL = "well"
    WAITING = "waiting"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class Verdict:
    text: str
    mood: Mood


def verdict(life: Life) -> Verdict:
    if life.order.status == Status.PENDING:
        return _pending(life)
    opening = life.order.status.capitalize()
    if life.order.status == Status.REJECTED:
        opening += f": {REASONS.get(life.order.reason, life.order.reason or 'nobody noted why')}"
    return _with_open_ends(life, opening)


def _pending(life: Life) -> Verdict:
    age = f"Pending for {lasting(life.age)}"
    if not life.is_overdue:
        return Verdict(f"{age}: it is being placed, or recovery will reject it.", Mood.WAITING)
    if life.age < timedelta(seconds=settings.PENDING_SECONDS) + LATE:
        return Verdict(f"{age}: recovery will reject it within seconds.", Mood.WAITING)
    return Verdict(f"{age}: recovery should have rejected it. Does order-service's worker run?", Mood.STUCK)


def _with_open_ends(life: Life, opening: str) -> Verdict:
    """The first thing that is not as it should be, the stock before the mails; else what the customer was told."""
    found = _release(life) or _books(life) or _undelivered(life)
    return Verdict(f"{opening}; {found.text}", found.mood) if found else _told(life, opening)


def _release(life: Life) -> Verdict | None:
    message = life.message("release")
    if message is None or message.state == OutboxMessage.State.DELIVERED:
        return None
    return _standing(life, message, "its stock is not released yet")


def _books(life: Life) -> Verdict | None:
    """What the two services have of one order must agree; `manage.py verify` compares all of them."""
    if PRODUCT.name in life.unknown:
        return None
    has_ended = life.order.status in WITHOUT_STOCK
    is_held = life.reservation is not None and life.reservation.status == ReservationStatus.RESERVED
    if has_ended and is_held:
        return Verdict("yet product-service holds stock for it, and nothing is on its way to release it.", Mood.STUCK)
    if not has_ended and not is_held:
        return Verdict("yet product-service holds no stock for it.", Mood.STUCK)
    return None


def _undelivered(life: Life) -> Verdict | None:
    for message in life.undelivered:
        return _standing(life, message, f"{WHAT.get(what_of(message), message.key)} is not handed over yet")
    return None


def _standing(life: Life, message: OutboxMessage, what: str) -> Verdict:
    is_fresh = life.as_of - message.created_at < LATE and message.state == OutboxMessage.State.PENDING
    text = f"{what}: {standing(message, life.as_of)}"
    return Verdict(text if text.endswith("?") else f"{text}.", Mood.WAITING if is_fresh else Mood.STUCK)


def _told(life: Life, opening: str) -> Verdict:
    """Everything was handed over: what became of the newest message to the customer, or of one that failed."""
    if life.order.status == Status.CANCELLED:
        opening += "; its stock is back, and "
    elif life.told:
        opening += "; "
    else:
        return Verdict(f"{opening}.", Mood.WELL)
    note = next((note for note in life.told if note.status == NotificationStatus.FAILED), life.told[-1])
    text, mood = _delivery(life, note)
    return Verdict(f"{opening}{text}.", mood)


def _delivery(life: Life, note: MessageToCustomer) -> tuple[str, Mood]:
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
        return f"{name} waits to be mailed{failed}", Mood.WAITING
    verb = DELIVERED_BY.get(found.channel, f"sent by {found.channel}")
    return f"{name} was {verb} {lasting(found.sent_at - life.became(note.what))} later", Mood.WELL
