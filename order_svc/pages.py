"""What the page of an order shows: amounts, customer, lines, messages, and links to the other services' admins."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from rest_framework.request import Request

from order_svc.explaining import Explanation
from order_svc.explaining.diagnosis import Mood
from order_svc.explaining.facts import MessageToCustomer
from order_svc.explaining.formatting import REASONS, WHAT, counted, duration_text, shortages, what_of
from order_svc.models import Order
from platform_core.auth import NOBODY, caller_of, is_open
from platform_core.conf import grouped_amount
from platform_core.http import link
from platform_core.outbox import OutboxMessage
from platform_core.topology import NOTIFICATION, PRODUCT, USER
from platform_core.vocabulary import WITHOUT_STOCK, MessageKind, NotificationStatus, Role


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the order. Amounts are texts, empty if they are not known; ``short`` says what was missing."""

    product: str
    url: str
    price: str
    quantity: str
    subtotal: str
    short: str


@dataclass(frozen=True, slots=True)
class Customer:
    """``note`` says where the data comes from, or why it is missing."""

    name: str
    email: str
    address: str
    url: str
    note: str


@dataclass(frozen=True, slots=True)
class Mail:
    """A message to the customer. ``to`` is empty if that is not known; ``url`` leads to it at notification-service,
    where a failed one can be sent again.
    """

    title: str
    to: str
    subject: str
    text: str
    status: str
    at: datetime | None
    error: str
    url: str
    has_failed: bool


def page_data(found: Explanation, request: Request) -> dict[str, Any]:
    """The variables of the template. ``tone`` is the mood, but ``ended`` for an order that has come to nothing."""
    order = found.order
    times = [moment.at for moment in found.timeline if moment.at]
    pieces = sum(line.quantity for line in order.lines.all())
    is_ended = order.status in WITHOUT_STOCK and found.diagnosis.mood == Mood.WELL
    return {
        "zone": settings.SHOP_TIME_ZONE,
        "tone": "ended" if is_ended else found.diagnosis.mood.value,
        "age": duration_text(found.as_of - order.created_at),
        "moments": [(_in_words(each), duration_text(each.at - times[0]) if each.at else "") for each in found.timeline],
        "lines": list(lines(order, request)),
        "total": "" if order.total is None else grouped_amount(order.total, order.currency),
        "pieces": f"{pieces:,}",
        "pieces_text": counted(pieces, "piece"),
        "customer": customer(found, request),
        "mails": list(mails(found, request)),
        "may_resend": _may_resend(request),
    }


def _may_resend(request: Request) -> bool:
    """Whether notification-service lets the caller send a failed mail again: support and admins may."""
    caller = caller_of(request)
    return (caller is NOBODY and is_open()) or not caller.roles.isdisjoint((Role.SUPPORT, Role.ADMIN))


def _in_words(moment: Any) -> Any:
    """The moment with words for the code of an error, which its detail may be."""
    return replace(moment, detail=REASONS.get(moment.detail, moment.detail))


def lines(order: Order, request: HttpRequest) -> Iterator[Line]:
    """The lines with links to product-service."""
    short = shortages(order)
    for line in order.lines.all():
        wanted, there = short.get(line.product_id, (None, None))
        yield Line(
            product=line.name or f"Product {line.product_id}",
            url=link(PRODUCT, f"/admin/product_svc/product/{line.product_id}/change/", request),
            price=_amount(line.unit_price, order),
            quantity=f"{line.quantity:,}",
            subtotal=_amount(line.subtotal, order),
            short="" if wanted is None else f"{wanted:,} wanted, {there:,} in stock",
        )


def _amount(amount: Decimal | None, order: Order) -> str:
    """Without the currency, which the total has."""
    return "" if amount is None else grouped_amount(amount, order.currency).removesuffix(f" {order.currency}")


def customer(found: Explanation, request: HttpRequest) -> Customer:
    """The customer of the order, or the account at user-service if the order has none."""
    order, account = found.order, found.account
    url = link(USER, f"/admin/user_svc/user/{order.user_id}/change/", request)
    if order.customer_email is not None:
        note = "As of the confirmation."
        return Customer(order.customer_name or "", order.customer_email, order.customer_address or "", url, note)
    if account is not None:
        return Customer(account.name, account.email, account.address, url, "As the account is now.")
    if USER.name in found.unknown:
        note = f"{USER.name} does not answer, and the order itself has no customer."
    else:
        note = "The account does not exist any more."
    return Customer(f"User {order.user_id}", "", "", url, note)


def mails(found: Explanation, request: HttpRequest) -> Iterator[Mail]:
    """The messages to the customer, oldest first: those that notification-service has, and those on the way to it."""
    notices = {note.key: note for note in found.notifications}
    queued = {each.key: each for each in found.outbox if each.kind == MessageKind.NOTIFICATION_SEND}
    for key in dict.fromkeys((*queued, *notices)):
        yield _mail(key, queued.get(key), notices.get(key), found, request)


def _mail(
    key: str, message: OutboxMessage | None, note: MessageToCustomer | None, found: Explanation, request: HttpRequest
) -> Mail:
    there = note.found if note else None
    sent = message.payload if message else {}
    what = note.what if note else what_of(message) if message else ""
    return Mail(
        title=WHAT.get(what, key).removeprefix("the ").capitalize(),
        to=(there.recipient if there else "") or found.order.customer_email or "",
        subject=(there.subject if there else "") or sent.get("subject", ""),
        text=(there.message if there else "") or sent.get("message", ""),
        status=_status(message, note),
        at=there.sent_at if there else None,
        error=(there.last_error or "") if there else "",
        url=link(NOTIFICATION, f"/admin/notification_svc/notification/{there.id}/change/", request) if there else "",
        has_failed=there is not None and there.status == NotificationStatus.FAILED,
    )


def _status(message: OutboxMessage | None, note: MessageToCustomer | None) -> str:
    if note is None:
        assert message is not None
        words = {OutboxMessage.State.DEAD: "given up", OutboxMessage.State.DELIVERED: "handed over"}
        return words.get(OutboxMessage.State(message.state), "not handed over yet")
    return {"none": "missing", "unknown": "not known at the moment"}.get(note.status, note.status)
