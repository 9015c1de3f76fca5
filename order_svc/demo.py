"""Demo orders. They are planned first and written last, after their stock and their messages exist.

This is the order of the saga. If a run is interrupted, some stock stays reserved for orders that do not exist;
`manage.py verify --repair` releases it. An order never exists without its stock and its messages.
"""

import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import accumulate
from random import Random
from typing import IO, Any

import msgspec
from django.conf import settings
from django.db.models import Max
from msgspec import Struct

from order_svc.actors import DEMO as CALLER
from order_svc.actors import PLACING, SYSTEM
from order_svc.models import Order, OrderLine, OrderTransition
from order_svc.services import addressed, confirmation, consequences, snapshot
from platform_core.db import PastEvent, new_ids, sketch, writing
from platform_core.outbox import Message, OutboxMessage
from platform_core.tools import DAYS, DEMO, OPENING, Batch, Calendar, Spec, batches_of, draw, encoded, raw
from platform_core.vocabulary import EventType, OrderStatus

_CANCELLED_SHARE = 0.07
_REJECTED_SHARE = 0.03
_SHORT = "insufficient_stock"
_LINES, _LINES_WEIGHTS = (1, 2, 3, 4), (62, 24, 10, 4)
_PIECES, _PIECES_WEIGHTS = (1, 2, 3, 4), (74, 18, 5, 3)
_SETTLING = timedelta(milliseconds=150)
_DELIVERING = timedelta(seconds=1)


class Customer(Struct):
    id: int
    name: str
    email: str
    address: str


class Product(Struct):
    id: int
    name: str
    price: Decimal


class Item(Struct, rename="camel"):
    product_id: int
    name: str
    unit_price: Decimal
    quantity: int


class Change(Struct):
    """A change of an order's status."""

    status: OrderStatus
    at: datetime


class Sent(Struct):
    message: Message
    at: datetime


class Sale(Struct):
    """An order with its whole history, as the demo's steps pass it on. ``number`` counts the orders of one seed.

    ``mail`` has the ``recipient`` and the ``data`` of its mails. The outbox does not hold them, as for real orders.
    ``refusal`` is the response of a rejected order.
    """

    id: int
    number: int
    customer: Customer
    created_at: datetime
    steps: list[Change]
    items: list[Item]
    refusal: dict[str, Any] | None = None
    messages: list[Sent] = []
    mail: dict[str, Any] = {}

    @property
    def is_rejected(self) -> bool:
        return self.steps[0].status == OrderStatus.REJECTED


class Market:
    """The demo's users, oldest first, and its products, most popular first.

    The users are kept in ``file``, an empty one, so that a million of them takes 8 MB of memory.
    """

    def __init__(self, batches: Iterator[Batch], file: IO[bytes]) -> None:
        self._file = file
        self._users = array("q")
        """Where in the file each user begins."""
        self.products: list[Product] = []
        for batch in batches:
            if batch.of == "users":
                for row in batch.rows:
                    self._users.append(file.tell())
                    file.write(row)
                    file.write(b"\n")
            else:
                self.products.extend(msgspec.json.decode(row, type=Product) for row in batch.rows)
        self._popularity = list(accumulate(1 / (rank + 3) ** 0.9 for rank in range(len(self.products))))

    def buyer(self, chance: Random, part: float) -> Customer:
        """Draws a user who existed after ``part`` of the period. Older users are drawn more often."""
        there = max(1, int(len(self._users) * part))
        self._file.seek(self._users[int(there * chance.random() ** 1.4)])
        return msgspec.json.decode(self._file.readline(), type=Customer)

    def product(self, chance: Random) -> Product:
        """Draws a product by Zipf's law."""
        return self.products[bisect_right(self._popularity, chance.random() * self._popularity[-1])]


def plan(spec: Spec, batches: Iterator[Batch]) -> Iterator[Batch]:
    """Plans the missing orders without writing them. The first batch says how many exist already."""
    with tempfile.TemporaryFile() as file:
        market, calendar, first = Market(batches, file), Calendar(spec), _kept(spec)
        yield Batch("orders", min(first, spec.orders))
        for numbers in batches_of(spec.orders, first):
            ids = new_ids(Order, len(numbers))
            sales = (_sale(spec, market, calendar, number, pk) for number, pk in zip(numbers, ids, strict=True))
            yield Batch("orders", len(numbers), [raw(sale) for sale in sales])


def _key(spec: Spec, number: int) -> str:
    return f"{spec.seed}-{number:07}"


def _kept(spec: Spec) -> int:
    """How many orders of this seed exist. They are written in the order of their numbers, so the last one gives it."""
    ours = Order.objects.filter(caller=CALLER, idempotency_key__startswith=f"{spec.seed}-")
    last = ours.aggregate(last=Max("idempotency_key"))["last"]
    return int(last.split("-")[1]) + 1 if last else 0


def _sale(spec: Spec, market: Market, calendar: Calendar, number: int, pk: int) -> Sale:
    chance = draw(spec, "order", number)
    part = OPENING + (1 - OPENING) * (number + chance.random()) / spec.orders
    created_at = calendar.moment(part)
    sale = Sale(
        id=pk,
        number=number,
        customer=market.buyer(chance, part),
        created_at=created_at,
        steps=_status_changes(chance, created_at, (1 - part) * DAYS, calendar.end),
        items=_items(chance, market),
    )
    if sale.is_rejected:
        sale.refusal = _refusal(chance, sale.items)
    order, lines = _rows(sale)
    sale.messages = [Sent(message, each.at) for each in sale.steps for message in _caused(order, lines, each.status)]
    if not sale.is_rejected:
        sale.mail = addressed(order, lines)
    return sale


def _refusal(chance: Random, items: list[Item]) -> dict[str, Any]:
    """The response to an order whose last item was short of stock, as the saga stores it."""
    short = items[-1]
    available = chance.randrange(short.quantity)
    error = {
        "field": f"items[{len(items) - 1}]",
        "code": _SHORT,
        "detail": f"{short.quantity} wanted, {available} in stock.",
        "productId": str(short.product_id),
        "requested": short.quantity,
        "available": available,
    }
    return {"status": 409, "code": _SHORT, "detail": "There is not enough stock.", "errors": [error]}


def _items(chance: Random, market: Market) -> list[Item]:
    wanted = {}
    for _ in range(chance.choices(_LINES, _LINES_WEIGHTS)[0]):
        product = market.product(chance)
        pieces = chance.choices(_PIECES, _PIECES_WEIGHTS)[0]
        wanted[product.id] = Item(product.id, product.name, product.price, pieces)
    return list(wanted.values())


def _status_changes(chance: Random, created_at: datetime, age: float, end: datetime) -> list[Change]:
    """The status changes of an order until ``end``.

    Which of them happen depends only on ``age``, which assumes equal traffic on all days. So the result is the same in
    every run, on any weekday. Only the times are scaled to the real calendar.
    """
    cancelling, shipping = chance.uniform(0.02, 0.5), chance.uniform(0.3, 2.5)
    delivering = shipping + chance.uniform(0.8, 4.5)
    outcome = chance.random()
    if outcome > 1 - _REJECTED_SHARE:
        return [Change(OrderStatus.REJECTED, created_at + _SETTLING)]
    if outcome < _CANCELLED_SHARE:
        due = [(OrderStatus.CANCELLED, cancelling)]
    else:
        due = [(OrderStatus.SHIPPED, shipping), (OrderStatus.DELIVERED, delivering)]
    room = (end - created_at) / timedelta(days=1)
    pace = min(1.0, room / age) if age else 1.0
    later = [Change(status, created_at + timedelta(days=after * pace)) for status, after in due if after < age]
    return [Change(OrderStatus.CONFIRMED, created_at + _SETTLING), *later]


def _caused(order: Order, lines: list[OrderLine], status: OrderStatus) -> list[Message]:
    return [confirmation(order, lines)] if status == OrderStatus.CONFIRMED else consequences(order, status)


def _rows(sale: Sale) -> tuple[Order, list[OrderLine]]:
    """The order as it is opened, except that it already has its total and its customer if it will be confirmed."""
    lines = [
        sketch(
            OrderLine,
            order_id=sale.id,
            product_id=item.product_id,
            quantity=item.quantity,
            **({} if sale.is_rejected else _priced(item)),
        )
        for item in sale.items
    ]
    order = sketch(
        Order,
        id=sale.id,
        user_id=sale.customer.id,
        created_at=sale.created_at,
        updated_at=sale.created_at,
        currency=settings.CURRENCY,
        caller=CALLER,
        request_id=DEMO,
        steps="{}",  # durations are not invented
        **(_rejected(sale) if sale.is_rejected else _confirmed(sale, lines)),
    )
    return order, lines


def _priced(item: Item) -> dict[str, Any]:
    return {"name": item.name, "unit_price": item.unit_price, "subtotal": item.unit_price * item.quantity}


def _confirmed(sale: Sale, lines: list[OrderLine]) -> dict[str, Any]:
    return {
        "total": sum((line.subtotal or Decimal(0) for line in lines), Decimal(0)),
        "confirmed_at": sale.steps[0].at,
        "customer_name": sale.customer.name,
        "customer_email": sale.customer.email,
        "customer_address": sale.customer.address,
    }


def _rejected(sale: Sale) -> dict[str, Any]:
    return {"reason": _SHORT, "refusal": encoded(sale.refusal).decode()}


def keep(spec: Spec, batches: Iterator[Batch]) -> Iterator[Batch]:
    """Writes the orders, their events, and their messages as delivered. It is the last step and passes nothing on."""
    for batch in batches:
        if batch.rows:
            sales = [msgspec.json.decode(row, type=Sale) for row in batch.rows]
            batch.written |= _write(spec, sales)
        batch.rows = []
        yield batch


def _write(spec: Spec, sales: Sequence[Sale]) -> dict[str, int]:
    orders, lines, transitions, events = [], [], [], []
    for sale in sales:
        order, its_lines = _rows(sale)
        order.idempotency_key = _key(spec, sale.number)
        events += [_stepped(order, its_lines, change) for change in sale.steps]
        orders.append(order)
        lines += its_lines
        transitions += _transitions(sale)
    messages = [_delivered(sent) for sale in sales for sent in sale.messages]
    with writing() as writer:
        writer.copy(orders)
        writer.copy(lines)
        writer.copy(transitions)
        writer.append(DEMO, events)
        writer.copy(messages)
    return writer.written


def _transitions(sale: Sale) -> list[OrderTransition]:
    """Who caused each later status. As in the saga, placing and confirming leave none."""
    changes = [change for change in sale.steps if change.status != OrderStatus.CONFIRMED]
    return [
        sketch(OrderTransition, order_id=sale.id, status=change.status.value, at=change.at, actor=_actor(change))
        for change in changes
    ]


def _actor(change: Change) -> str:
    return PLACING if change.status == OrderStatus.REJECTED else f"{SYSTEM}:{DEMO}"


def _stepped(order: Order, lines: list[OrderLine], change: Change) -> PastEvent:
    order.status = change.status.value
    order.version += 1
    order.updated_at = change.at
    reason = {"reason": order.reason} if change.status == OrderStatus.REJECTED else {}
    return PastEvent(change.at, EventType.of_order(change.status), order.pk, {**snapshot(order, lines), **reason})


def _delivered(sent: Sent) -> OutboxMessage:
    message = sent.message
    return sketch(
        OutboxMessage,
        kind=message.kind,
        destination=message.destination,
        aggregate=message.aggregate,
        key=message.key,
        payload=encoded(message.payload).decode(),
        state=OutboxMessage.State.DELIVERED.value,
        attempts=1,
        available_at=sent.at,
        request_id=DEMO,
        created_at=sent.at,
        delivered_at=sent.at + _DELIVERING,
    )


STEPS = {"plan": plan, "keep": keep}
