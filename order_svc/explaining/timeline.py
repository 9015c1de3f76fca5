"""The timeline of an order across all services, in the order of time. Steps that have not happened yet come last."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from django.utils.dateparse import parse_datetime

from order_svc.actors import PLACING, text_of
from order_svc.explaining.facts import Facts, MessageToCustomer, Status
from order_svc.explaining.formatting import (
    WHAT,
    counted,
    delivery_status,
    duration_text,
    rejection_text,
    what_of,
)
from order_svc.models import Order
from order_svc.steps import STOCK, USER
from platform_core.conf import grouped_amount
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
    """One step on the timeline.

    ``at`` is None if the step has not happened. The duration of a message is counted from when it was written.
    ``by`` says who caused it; empty if that is not recorded, and for steps that nobody causes.
    """

    name: str
    title: str
    service: str
    state: State = State.DONE
    at: datetime | None = None
    duration_ms: float | None = None
    attempts: int | None = None
    detail: str = ""
    by: str = ""

    @property
    def took(self) -> str:
        """The duration as text, in milliseconds below one second. Empty if it is not known."""
        if self.duration_ms is None:
            return ""
        if self.duration_ms < 1000:
            return f"{self.duration_ms:.0f} ms" if self.duration_ms >= 10 else f"{self.duration_ms:.1f} ms"
        return duration_text(timedelta(milliseconds=self.duration_ms))


def timeline(facts: Facts) -> list[Moment]:
    moments = [
        *_asked_user(facts),
        _with_actor(facts, _opened(facts)),
        *_asked_stock(facts),
        *(_with_actor(facts, moment) for moment in (*_settled(facts), *_moved(facts))),
        *(_message(facts, message) for message in facts.messages),
        *(_note(facts, note) for note in facts.notices),
    ]
    return sorted(moments, key=lambda moment: moment.at or _FAR)  # a stable sort: equal times keep the saga's order


def _with_actor(facts: Facts, moment: Moment) -> Moment:
    """The moment with who caused it. The name of a moment is the status that the order took.

    Placing an order writes no transition: its caller is a column of the order, and only the saga confirms.
    """
    if moment.name == "opened":
        actor = facts.order.caller
    elif moment.name == Status.CONFIRMED:
        actor = PLACING
    else:
        actor = next((each.actor for each in reversed(facts.transitions) if each.status == moment.name), "")
    return replace(moment, by=text_of(actor, facts.order.user_id, facts.names)) if actor else moment


def _asked_user(facts: Facts) -> list[Moment]:
    step = facts.order.steps.get(USER)
    return [_asked("user", "User checked", USER_SERVICE.name, step)] if step else []


def _opened(facts: Facts) -> Moment:
    lines = list(facts.order.lines.all())
    pieces = sum(line.quantity for line in lines)
    detail = f"{counted(len(lines), 'line')}, {counted(pieces, 'piece')}, for user {facts.order.user_id}"
    return Moment("opened", "Order opened", ORDER.name, at=facts.order.created_at, detail=detail)


def _asked_stock(facts: Facts) -> list[Moment]:
    step = facts.order.steps.get(STOCK)
    if step is None and facts.order.status == Status.PENDING:
        return [Moment("stock", "Stock asked for", PRODUCT.name, State.WAITING, detail="no answer is recorded")]
    if step is None:
        return []
    return [_asked("stock", "Stock not reserved" if step["error"] else "Stock reserved", PRODUCT.name, step)]


def _asked(name: str, title: str, service: str, step: dict[str, object]) -> Moment:
    """A step of the saga, from the record that `order_svc.steps` made of it."""
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


def _settled(facts: Facts) -> list[Moment]:
    order = facts.order
    if order.confirmed_at:
        moment = _own(Status.CONFIRMED.value, "Confirmed", order.confirmed_at, _total(order))
        return [replace(moment, duration_ms=_ms(order.confirmed_at - _began(facts)))]
    if order.status == Status.REJECTED:
        return [_own(Status.REJECTED.value, "Rejected", order.updated_at, rejection_text(order), state=State.FAILED)]
    return [Moment("settled", "Confirmed or rejected", ORDER.name, State.WAITING)]


def _total(order: Order) -> str:
    return "" if order.total is None else grouped_amount(order.total, order.currency)


def _began(facts: Facts) -> datetime:
    step = facts.order.steps.get(USER)
    return (parse_datetime(step["at"]) if step else None) or facts.order.created_at


def _moved(facts: Facts) -> list[Moment]:
    """The later changes of status, from the order's transitions and events. Without both, only the present status."""
    requests = {event.type.removeprefix("order."): event.request_id for event in facts.events}
    recorded = {*requests, *(each.status for each in facts.transitions), facts.order.status}
    states = [status for status in _MOVES if status in recorded]
    return [
        _own(status, status.capitalize(), facts.became(status), f"request {requests.get(status) or 'not recorded'}")
        for status in states
    ]


def _own(name: str, title: str, at: datetime, detail: str, *, state: State = State.DONE) -> Moment:
    return Moment(name, title, ORDER.name, state, at, detail=detail)


def _message(facts: Facts, message: OutboxMessage) -> Moment:
    """An outbox message, at the time of its delivery. An undelivered message has no time and comes last."""
    what = what_of(message)
    moment = Moment(f"outbox.{what}", _handing_over(what), message.destination, attempts=message.attempts)
    if message.delivered_at:
        title = _released(facts) if what == "release" else moment.title
        took = _ms(message.delivered_at - message.created_at)
        return replace(moment, title=title, at=message.delivered_at, duration_ms=took)
    detail = _delivery_detail(facts, message)
    if message.state != OutboxMessage.State.DEAD:
        return replace(moment, state=State.WAITING, detail=detail)
    return replace(moment, title=_not_done(moment.title), state=State.FAILED, detail=detail)


def _not_done(title: str) -> str:
    """The title of a moment that has failed, which is in words as if it had been done."""
    for done in (" handed over", " mailed"):
        if title.endswith(done):
            return f"{title.removesuffix(done)} not{done}"
    return title


def _released(facts: Facts) -> str:
    """Every rejection sends a release, also if nothing was reserved."""
    if facts.held_stock is None:
        return "Release confirmed"
    return "Stock released" if facts.held_stock else "Release confirmed: no stock was held"


def _handing_over(what: str) -> str:
    return "Release of the stock" if what == "release" else f"{_sentence(WHAT.get(what, what))} handed over"


def _delivery_detail(facts: Facts, message: OutboxMessage) -> str:
    """Messages to one service are delivered in order, so the first undelivered one blocks the others."""
    waiting = [m for m in facts.messages if m.destination == message.destination and m.state == "pending"]
    if message.state == "pending" and waiting[0].pk != message.pk:
        return f"comes after {waiting[0].key}"
    return delivery_status(message, facts.as_of)


def _note(facts: Facts, note: MessageToCustomer) -> Moment:
    found = note.found
    moment = Moment(f"notification.{note.what}", f"{_sentence(WHAT[note.what])} mailed", NOTIFICATION.name)
    if found is None and note.is_known:
        detail = "there is no message under its key"
        return replace(moment, title=_not_done(moment.title), state=State.FAILED, detail=detail)
    if found is None:
        return replace(moment, state=State.UNKNOWN, detail="not known at the moment")
    state = _OF_NOTIFICATIONS.get(found.status, State.WAITING)
    return replace(
        moment,
        title=_not_done(moment.title) if state == State.FAILED else moment.title,
        state=state,
        at=found.sent_at,
        duration_ms=_ms(found.sent_at - found.created_at) if found.sent_at else None,
        attempts=found.attempts,
        detail=found.last_error or "",
    )


def _ms(duration: timedelta) -> float:
    return round(duration.total_seconds() * 1000, 1)


def _sentence(text: str) -> str:
    return text.removeprefix("the ").capitalize()
