"""The facts about an order: its rows in this service and its records in the peers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from django.conf import settings
from django.utils.timezone import now

from order_svc.actors import staff_ids
from order_svc.models import Order, OrderTransition
from order_svc.steps import STOCK
from platform_core.auth import staff_names
from platform_core.clients import (
    Notification,
    PeerError,
    PeerRefused,
    Reservation,
    User,
    find_notification,
    get_reservation,
    get_user,
)
from platform_core.events import Event
from platform_core.http import DeadlineExceeded, NotFound, context
from platform_core.outbox import OutboxMessage
from platform_core.topology import NOTIFICATION, PRODUCT, USER

PEER_TIMEOUT = 1.5
"""Timeout of one call to a peer, in seconds."""
ALL_PEERS_TIMEOUT = 3.5
"""Timeout of all calls together. It leaves time for the rest of the request, whose default deadline is 5 seconds."""
MOST_NAMES = 3
"""Limit of the people that are looked up at user-service."""
MOST_ROWS = 50
"""Limit of events and of messages that are read. An order has at most four of each, even after repeated requests."""
T = TypeVar("T")
Status = Order.Status


@dataclass(frozen=True, slots=True)
class MessageToCustomer:
    """A message that this service has handed over to notification-service.

    ``found`` is None if notification-service has no message with this key, did not answer, or was not asked.
    """

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
class Facts:
    """Everything that is known about one order.

    ``notices`` are the messages to the customer that have been handed over. The others are still in ``messages``.
    ``names`` has the names of the staff who acted, by id, as far as they are known. ``customer`` is the account as
    user-service has it now; it is looked up only for a page, and only if the order itself has no customer.
    """

    order: Order
    events: Sequence[Event]
    messages: Sequence[OutboxMessage]
    as_of: datetime = field(default_factory=now)
    reservation: Reservation | None = None
    notices: list[MessageToCustomer] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    customer: User | None = None

    @property
    def transitions(self) -> list[OrderTransition]:
        """The statuses that the order took, in the order of time, as far as they were recorded."""
        return list(self.order.transitions.all())

    @property
    def age(self) -> timedelta:
        return self.as_of - self.order.created_at

    @property
    def is_overdue(self) -> bool:
        """Whether the order is still pending although the request that placed it must have ended."""
        return self.order.status == Status.PENDING and self.age.total_seconds() > settings.PENDING_SECONDS

    @property
    def held_stock(self) -> bool | None:
        """Whether stock was ever reserved for the order; None if that is not known at the moment."""
        step = self.order.steps.get(STOCK)
        if self.order.confirmed_at or (step and not step["error"]):
            return True
        if self.reservation is not None:
            return bool(self.reservation.items)
        return False if self.order.refusal or PRODUCT.name not in self.unknown else None

    @property
    def undelivered(self) -> list[OutboxMessage]:
        return [message for message in self.messages if message.state != OutboxMessage.State.DELIVERED]

    def message(self, what: str) -> OutboxMessage | None:
        """The outbox row of `release`, `confirmed`, `cancelled` or `shipped`."""
        key = f"order-{self.order.pk}-{what}"
        return next((message for message in self.messages if message.key == key), None)

    def became(self, status: str) -> datetime:
        """When the order took this status. Returns the time of its last change if there is no record of the status."""
        if status == Status.CONFIRMED and self.order.confirmed_at:
            return self.order.confirmed_at
        times = [event.time for event in self.events if event.type == f"order.{status}"]
        times += [each.at for each in self.transitions if each.status == status]
        return times[0] if times else self.order.updated_at


def collect_facts(order_id: int, *, with_people: bool = False) -> Facts:
    """Reads the order's rows and asks the peers. Raises NotFound.

    ``with_people`` also asks user-service for a customer and for staff whose names are not known here.
    """
    order = Order.objects.prefetch_related("lines", "transitions").filter(pk=order_id).first()
    if order is None:
        raise NotFound()
    facts = Facts(order, _events(order_id), _messages(order_id))
    facts.names = staff_names(_staff(facts))
    with context.within(ALL_PEERS_TIMEOUT):
        facts.reservation = _ask(facts, PRODUCT.name, lambda: get_reservation(order_id, timeout=PEER_TIMEOUT))
        facts.notices = [_find_notice(facts, what) for what in _expected_notices(order) if _is_handed_over(facts, what)]
        if with_people:
            _ask_for_people(facts)
    facts.as_of = now()
    return facts


def _staff(facts: Facts) -> list[int]:
    return staff_ids([facts.order.caller, *(each.actor for each in facts.transitions)], facts.order.user_id)


def _ask_for_people(facts: Facts) -> None:
    if facts.order.customer_email is None:
        facts.customer = _ask(facts, USER.name, lambda: _person(facts.order.user_id))
    unnamed = [each for each in _staff(facts) if each not in facts.names]
    for each in unnamed[:MOST_NAMES]:
        found = _ask(facts, USER.name, partial(_person, each))
        if found is not None:
            facts.names[each] = found.name


def _person(user_id: int) -> User | None:
    """The account; None if it does not exist any more. Raises PeerRefused, PeerUnreachable, DeadlineExceeded."""
    try:
        with context.within(PEER_TIMEOUT):
            return get_user(user_id)
    except PeerRefused as refusal:
        if refusal.status == 404:
            return None
        raise


def _events(order_id: int) -> list[Event]:
    return list(Event.objects.filter(subject=str(order_id)).order_by("id")[:MOST_ROWS])


def _messages(order_id: int) -> list[OutboxMessage]:
    return list(OutboxMessage.objects.filter(aggregate=f"order:{order_id}").order_by("id")[:MOST_ROWS])


def _expected_notices(order: Order) -> list[str]:
    """The notices that the customer of an order in this status should have got."""
    expected = [Status.CONFIRMED] if order.confirmed_at else []
    if order.status == Status.CANCELLED:
        expected.append(Status.CANCELLED)
    if order.status in (Status.SHIPPED, Status.DELIVERED):
        expected.append(Status.SHIPPED)
    return [status.value for status in expected]


def _is_handed_over(facts: Facts, what: str) -> bool:
    message = facts.message(what)
    return message is None or message.state == OutboxMessage.State.DELIVERED


def _find_notice(facts: Facts, what: str) -> MessageToCustomer:
    key = f"order-{facts.order.pk}-{what}"
    found = _ask(facts, NOTIFICATION.name, lambda: find_notification(key, timeout=PEER_TIMEOUT))
    return MessageToCustomer(what, key, found, is_known=NOTIFICATION.name not in facts.unknown)


def _ask(facts: Facts, peer: str, question: Callable[[], T | None]) -> T | None:
    """Returns the peer's answer, or None if it does not answer. Such a peer is not asked again."""
    if peer in facts.unknown:
        return None
    try:
        return question()
    except (PeerError, DeadlineExceeded):
        facts.unknown.append(peer)
        return None
