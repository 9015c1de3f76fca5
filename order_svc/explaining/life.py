"""What is known of an order: its own rows here, and what the peers have for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from django.conf import settings
from django.utils.timezone import now

from order_svc.models import Order
from platform_core.clients import Notification, PeerError, Reservation, find_notification, get_reservation
from platform_core.events import Event
from platform_core.http import DeadlineExceeded, NotFound
from platform_core.outbox import OutboxMessage
from platform_core.topology import NOTIFICATION, PRODUCT

PATIENCE = 1.5
"""Seconds for one question to a peer. With three of them, the page still comes within a request's time."""
MOST_ROWS = 50
"""An order has at most four events and as many messages, however often anything is repeated."""
T = TypeVar("T")
Status = Order.Status


@dataclass(frozen=True, slots=True)
class MessageToCustomer:
    """``found`` is None when notification-service has no message under ``key``, or was not asked, or did not answer."""

    what: str
    key: str
    found: Notification | None = None
    is_known: bool = True

    @property
    def status(self) -> str:
        if self.found is not None:
            return self.found.status
        return "none" if self.is_known else "unknown"


@dataclass(slots=True)
class Life:
    """``told`` are the messages to the customer that were handed over; the others are still among ``messages``."""

    order: Order
    events: Sequence[Event]
    messages: Sequence[OutboxMessage]
    as_of: datetime = field(default_factory=now)
    reservation: Reservation | None = None
    told: list[MessageToCustomer] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def age(self) -> timedelta:
        return self.as_of - self.order.created_at

    @property
    def is_overdue(self) -> bool:
        """Whether nobody can be at work on it any more, though it is pending."""
        return self.order.status == Status.PENDING and self.age.total_seconds() > settings.PENDING_SECONDS

    @property
    def undelivered(self) -> list[OutboxMessage]:
        return [message for message in self.messages if message.state != OutboxMessage.State.DELIVERED]

    def message(self, what: str) -> OutboxMessage | None:
        """The outbox row of `release`, `confirmed`, `cancelled` or `shipped`."""
        key = f"order-{self.order.pk}-{what}"
        return next((message for message in self.messages if message.key == key), None)

    def became(self, status: str) -> datetime:
        """When it took this state; for one without an event, when it last changed."""
        if status == Status.CONFIRMED and self.order.confirmed_at:
            return self.order.confirmed_at
        times = [event.time for event in self.events if event.type == f"order.{status}"]
        return times[0] if times else self.order.updated_at


def look(order_id: int) -> Life:
    """Everything that can be found out now. Raises NotFound."""
    order = Order.objects.prefetch_related("lines").filter(pk=order_id).first()
    if order is None:
        raise NotFound()
    life = Life(order, _events(order_id), _messages(order_id))
    life.reservation = _ask(life, PRODUCT.name, lambda: get_reservation(order_id, timeout=PATIENCE))
    life.told = [_told(life, what) for what in _said(order) if _is_handed_over(life, what)]
    life.as_of = now()
    return life


def _events(order_id: int) -> list[Event]:
    return list(Event.objects.filter(subject=str(order_id)).order_by("id")[:MOST_ROWS])


def _messages(order_id: int) -> list[OutboxMessage]:
    return list(OutboxMessage.objects.filter(aggregate=f"order:{order_id}").order_by("id")[:MOST_ROWS])


def _said(order: Order) -> list[str]:
    """What the customer is told by now."""
    said = [Status.CONFIRMED] if order.confirmed_at else []
    if order.status == Status.CANCELLED:
        said.append(Status.CANCELLED)
    if order.status in (Status.SHIPPED, Status.DELIVERED):
        said.append(Status.SHIPPED)
    return [status.value for status in said]


def _is_handed_over(life: Life, what: str) -> bool:
    message = life.message(what)
    return message is None or message.state == OutboxMessage.State.DELIVERED


def _told(life: Life, what: str) -> MessageToCustomer:
    key = f"order-{life.order.pk}-{what}"
    found = _ask(life, NOTIFICATION.name, lambda: find_notification(key, timeout=PATIENCE))
    return MessageToCustomer(what, key, found, is_known=NOTIFICATION.name not in life.unknown)


def _ask(life: Life, peer: str, question: Callable[[], T | None]) -> T | None:
    """None, too, when the peer does not answer; then it is not asked again."""
    if peer in life.unknown:
        return None
    try:
        return question()
    except (PeerError, DeadlineExceeded):
        life.unknown.append(peer)
        return None
