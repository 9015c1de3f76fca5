"""An order's life as moments in the order of time, from all services, with what is still to come at the end."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from django.utils.dateparse import parse_datetime

from order_svc.explaining.life import Life, MessageToCustomer, Status
from order_svc.explaining.words import REASONS, WHAT, counted, lasting, standing, what_of
from order_svc.steps import STOCK, USER
from platform_core.outbox import OutboxMessage
from platform_core.topology import NOTIFICATION, ORDER, PRODUCT
from platform_core.topology import USER as USER_SERVICE
from platform_core.vocabulary import PLACED, NotificationStatus

_MOVES = tuple(status for status in PLACED if status != Status.CONFIRMED)
_FAR = datetime.max.replace(tzinfo=UTC)


class State(StrEnum):
    DONE = "done"
    WAITING = "waiting"
    FAILED = "failed"
    UNKNOWN = "unknown"


_OF_NOTIFICATIONS = {NotificationStatus.SENT.value: State.DONE, NotificationStatus.FAILED.value: State.FAILED}


@dataclass(frozen=True, slots=True)
class Moment:
    """``at`` is None for what has not happened; ``duration_ms`` is what it took, for a message since it was written."""

    name: str
    title: str
    service: str
    state: State = State.DONE
    at: datetime | None = None
    duration_ms: float | None = None
    attempts: int | None = None
    detail: str = ""

    @property
    def took(self) -> str:
        """In words, to the millisecond below a second; empty when it is not known."""
        if self.duration_ms is None:
            return ""
        if self.duration_ms < 1000:
            return f"{self.duration_ms:.0f} ms" if self.duration_ms >= 10 else f"{self.duration_ms:.1f} ms"
        return lasting(timedelta(milliseconds=self.duration_ms))


def timeline(life: Life) -> list[Moment]:
    moments = [
        *_asked_user(life),
        _opened(life),
        *_asked_stock(life),
        *_settled(life),
        *_moved(life),
        *(_message(life, message) for message in life.messages),
        *(_note(life, note) for note in life.told),
    ]
    return sorted(moments, key=lambda moment: moment.at or _FAR)  # stable: what ties stays in the saga's order


def _asked_user(life: Life) -> list[Moment]:
    step = life.order.steps.get(USER)
    return [_asked("user", "User checked", USER_SERVICE.name, step)] if step else []


def _opened(life: Life) -> Moment:
    lines = list(life.order.lines.all())
    pieces = sum(line.quantity for line in lines)
    detail = f"{counted(len(lines), 'line')}, {counted(pieces, 'piece')}, for user {life.order.user_id}"
    return Moment("opened", "Order opened", ORDER.name, at=life.order.created_at, detail=detail)


def _asked_stock(life: Life) -> list[Moment]:
    step = life.order.steps.get(STOCK)
    if step is None and life.order.status == Status.PENDING:
        return [Moment("stock", "Stock asked for", PRODUCT.name, State.WAITING, detail="no answer is noted")]
    if step is None:
        return []
    return [_asked("stock", "Stock not reserved" if step["error"] else "Stock reserved", PRODUCT.name, step)]


def _asked(name: str, title: str, service: str, step: dict[str, object]) -> Moment:
    """A step of the saga, from what `order_svc.steps` noted; it counts as done when its answer was there."""
    error = str(step["error"])
    began = parse_datetime(str(step["at"]))
    return Moment(
        name,
        title,
        service,
        State.FAILED if error else State.DONE,
        at=began,
        duration_ms=float(str(step["ms"])),
        attempts=int(str(step["attempts"])),
        detail=error,
    )


def _settled(life: Life) -> list[Moment]:
    order = life.order
    if order.confirmed_at:
        moment = _own(Status.CONFIRMED.value, "Confirmed", order.confirmed_at, f"{order.total} {order.currency}")
        return [replace(moment, duration_ms=_ms(order.confirmed_at - _began(life)))]
    if order.status == Status.REJECTED:
        reason = REASONS.get(order.reason, order.reason)
        return [_own(Status.REJECTED.value, "Rejected", order.updated_at, reason, state=State.FAILED)]
    return [Moment("settled", "Confirmed or rejected", ORDER.name, State.WAITING)]


def _began(life: Life) -> datetime:
    step = life.order.steps.get(USER)
    return (parse_datetime(step["at"]) if step else None) or life.order.created_at


def _moved(life: Life) -> list[Moment]:
    """By its events; an order whose events are gone has at least its present state."""
    requests = {event.type.removeprefix("order."): event.request_id for event in life.events}
    states = [status for status in _MOVES if status in requests or status == life.order.status]
    return [
        _own(status, status.capitalize(), life.became(status), f"request {requests.get(status) or 'not noted'}")
        for status in states
    ]


def _own(name: str, title: str, at: datetime, detail: str, *, state: State = State.DONE) -> Moment:
    return Moment(name, title, ORDER.name, state, at, detail=detail)


def _message(life: Life, message: OutboxMessage) -> Moment:
    """A message that arrived stands where it arrived, one that did not at the end."""
    what = what_of(message)
    moment = Moment(f"outbox.{what}", _handing_over(what), message.destination, attempts=message.attempts)
    if message.delivered_at:
        title = "Stock released" if what == "release" else moment.title
        took = _ms(message.delivered_at - message.created_at)
        return replace(moment, title=title, at=message.delivered_at, duration_ms=took)
    is_dead = message.state == OutboxMessage.State.DEAD
    return replace(moment, state=State.FAILED if is_dead else State.WAITING, detail=_stands(life, message))


def _handing_over(what: str) -> str:
    return "Release of the stock" if what == "release" else f"{_sentence(WHAT.get(what, what))} handed over"


def _stands(life: Life, message: OutboxMessage) -> str:
    """Messages to one service keep their order, so the first that waits holds up the others."""
    waiting = [m for m in life.messages if m.destination == message.destination and m.state == "pending"]
    if message.state == "pending" and waiting[0].pk != message.pk:
        return f"comes after {waiting[0].key}"
    return standing(message, life.as_of)


def _note(life: Life, note: MessageToCustomer) -> Moment:
    found = note.found
    moment = Moment(f"notification.{note.what}", f"{_sentence(WHAT[note.what])} mailed", NOTIFICATION.name)
    if found is None and note.is_known:
        return replace(moment, state=State.FAILED, detail="there is no message under its key")
    if found is None:
        return replace(moment, state=State.UNKNOWN, detail="not known at the moment")
    return replace(
        moment,
        state=_OF_NOTIFICATIONS.get(found.status, State.WAITING),
        at=found.sent_at,
        duration_ms=_ms(found.sent_at - found.created_at) if found.sent_at else None,
        attempts=found.attempts,
        detail=found.last_error or "",
    )


def _ms(duration: timedelta) -> float:
    return round(duration.total_seconds() * 1000, 1)


def _sentence(text: str) -> str:
    return text.removeprefix("the ").capitalize()
