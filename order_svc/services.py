"""Use cases of order-service: the saga that places an order, and the later changes of its status.

Each change of status is one transaction: a conditional update, who caused it, the event, and the outbox messages.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from itertools import accumulate
from typing import Any, NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now
from django.utils.timezone import now
from prometheus_client import Counter

from order_svc.actors import PLACING, RECOVERING, RESERVING, TIMEOUT, acting
from order_svc.history import remember, require_history
from order_svc.models import Order, OrderLine, OrderTransition
from order_svc.privacy import NOBODY
from order_svc.statements import CONFIRM, COUNT_OPEN, EARLIER, EARLIER_COLUMNS, OPEN, QUEUE_AGAIN, TAKE_TURNS
from order_svc.steps import STOCK, USER, Steps, taken
from platform_core.api import Claim, decode, encode, in_progress
from platform_core.clients import (
    MAX_DATA_BYTES,
    CallerRefused,
    PeerBusy,
    PeerError,
    PeerRefused,
    PeerUnreachable,
    Reservation,
    User,
    get_user,
    reserve_stock,
)
from platform_core.conf import amount_text, reached, rounded
from platform_core.db import array, forget_failure, is_erased, prepared, prepared_atomic
from platform_core.events import NewEvent, append
from platform_core.http import (
    Conflict,
    DeadlineExceeded,
    FieldError,
    NotFound,
    PlatformError,
    Unavailable,
    Unprocessable,
    context,
)
from platform_core.observability import tracing
from platform_core.outbox import Message, OutboxMessage, PermanentFailure, enqueue, hasten, redrive
from platform_core.topology import NOTIFICATION, PRODUCT
from platform_core.vocabulary import (
    DONE,
    HOLDING_STOCK,
    STOCK_SHORTAGE,
    WITHOUT_STOCK,
    EventType,
    MessageKind,
    OrderStatus,
)

CLEANUP_SECONDS = 2.0
MOST_STUCK = 500
LATE_MESSAGE = timedelta(seconds=30)
"""The longest time that the delivery of a message takes in normal operation."""
RECOVERY = "recovery"
"""The name of the duty that rejects overdue orders."""
ABANDONED = "abandoned"
"""The reason of a rejection by recovery: the request ended and left the order pending."""
SETTLED_VERSION = 2
"""An order starts with version 1, and its confirmation or rejection is the first change."""
_sagas = Counter("order_sagas_total", "Orders confirmed or rejected, by reason.", ["outcome", "reason"])
_recovered = Counter("orders_recovered_total", "Orders left pending and rejected by recovery.")
_RULES: Mapping[str, type[PlatformError]] = {"insufficient_stock": Conflict, "unknown_product": Unprocessable}


class Refused(PlatformError):
    """The refusal that an earlier request with the same key got, repeated unchanged."""


class Placed(NamedTuple):
    order: Order
    lines: list[OrderLine]
    is_replay: bool


def place_order(
    user_id: int, quantities: Mapping[int, int], claim: Claim | None = None, most_open: int | None = None
) -> Placed:
    """Runs the saga and returns a confirmed order. ``quantities`` maps product ids to quantities.

    ``most_open`` limits the open orders of the user, this one included; Conflict `too_many_open_orders` beyond it.

    If the claim's key already has an order, repeats the first answer of that order. Raises Unprocessable
    `unknown_user`, `inactive_user` or `unknown_product`; Conflict `insufficient_stock`, whose errors number the items
    in the order of ``quantities``; Unavailable if a peer does not answer (the order is then rejected), or while the
    database has lost orders.
    """
    earlier = earlier_order(claim)
    if earlier:
        return earlier
    require_history()
    steps: Steps = {}
    with taken(steps, USER):
        customer = _active_user(user_id)
    order, lines = _open(user_id, quantities, claim, steps, most_open)
    reached("order.opened")
    try:
        with taken(order.steps, STOCK):
            reservation = reserve_stock(order.pk, quantities)
        reached("order.reserved")
        _check_currency(order, reservation)
        placed = _confirm(order, lines, reservation, customer)
        reached("order.confirmed")
        return placed
    except PeerRefused as refusal:
        raise _reject_by_rule(order, lines, refusal) from refusal
    except (PeerUnreachable, Unavailable) as error:
        answer = _unavailable(error)
        _give_up(order)
        raise answer from error
    except Exception:
        _give_up(order)
        raise


def earlier_order(claim: Claim | None) -> Placed | None:
    """The first answer of the order that has this key. Raises Conflict if that order is still pending."""
    if claim is None:
        return None
    found = prepared(EARLIER, [claim.caller, claim.key])
    if not found:
        return None
    ((*columns, fingerprint, refusal),) = found
    order = Order(**dict(zip(EARLIER_COLUMNS, columns, strict=True)))
    claim.check(fingerprint)
    if order.status == Order.Status.PENDING:
        raise in_progress()
    if refusal:
        raise _repeated(decode(refusal))
    assert order.confirmed_at is not None
    order.status, order.version, order.updated_at = Order.Status.CONFIRMED, SETTLED_VERSION, order.confirmed_at
    return Placed(order, list(order.lines.all()), is_replay=True)


def _repeated(refusal: dict[str, Any]) -> PlatformError:
    error = Refused(
        refusal["detail"],
        code=refusal["code"],
        errors=refusal["errors"],
        headers={"Idempotent-Replayed": "true"},
    )
    error.status = refusal["status"]
    return error


def _active_user(user_id: int) -> User:
    """The user. Raises Unprocessable `unknown_user`, `inactive_user`; Unavailable."""
    try:
        user = get_user(user_id)
    except PeerRefused as refusal:
        if refusal.status != 404:
            _count_rejection("unavailable")
            raise _unavailable(refusal) from refusal
        raise _refused_user("unknown_user", f"There is no user {user_id}.") from None
    except PeerUnreachable as error:
        _count_rejection("unavailable")
        raise _unavailable(error) from error
    if not user.is_active:
        raise _refused_user("inactive_user", f"The account of user {user_id} is disabled.")
    return user


def _refused_user(code: str, detail: str) -> Unprocessable:
    _count_rejection(code)
    return Unprocessable(detail, code=code, errors=[{"field": "userId", "code": code, "detail": detail}])


def _count_rejection(reason: str) -> None:
    _sagas.labels(Order.Status.REJECTED.value, reason).inc()


def _open(
    user_id: int, quantities: Mapping[int, int], claim: Claim | None, steps: Steps, most_open: int | None
) -> tuple[Order, list[OrderLine]]:
    """Commits the pending order before any side effect.

    Raises Conflict if a concurrent request has the same key, or if the user has too many open orders.
    """
    values = {
        "user_id": user_id,
        "currency": settings.CURRENCY,
        "steps": encode(steps).decode(),
        "caller": claim.caller if claim else acting(),
        "key": claim.key if claim else None,
        "fingerprint": claim.fingerprint if claim else None,
        "lock": claim.lock if claim else "",
        "products": array(quantities),
        "quantities": array(quantities.values()),
    }
    opened = _inserted({**context.origin(), **values}, most_open)
    if not opened:
        raise in_progress()
    ((order_id, at),) = opened
    order = Order(pk=order_id, user_id=user_id, currency=settings.CURRENCY, steps=steps, created_at=at, updated_at=at)
    return order, [OrderLine(order=order, product_id=product, quantity=n) for product, n in quantities.items()]


def _inserted(values: dict[str, Any], most_open: int | None) -> list[tuple[Any, ...]]:
    """The rows of OPEN. Orders of a user with a limit take turns, so that two at once do not both find room."""
    if most_open is None:
        return prepared_atomic(OPEN, values)
    with transaction.atomic():
        prepared(TAKE_TURNS, [f"open orders of {values['user_id']}"])
        ((found,),) = prepared(COUNT_OPEN, [values["user_id"], most_open])
        if found >= most_open:
            _count_rejection("too_many_open_orders")
            raise Conflict(f"You have {found} open orders; no more are possible.", code="too_many_open_orders")
        return prepared(OPEN, values)


def _check_currency(order: Order, reservation: Reservation) -> None:
    """Raises Unavailable if product-service counts in another currency, a fault of the configuration."""
    if reservation.currency not in ("", order.currency):
        raise Unavailable(
            f"Orders are in {order.currency}, but {PRODUCT.name} has prices in {reservation.currency}: "
            "CURRENCY must be the same for all services."
        )


def _confirm(order: Order, lines: list[OrderLine], reservation: Reservation, customer: User) -> Placed:
    """Confirms the order and keeps the customer. Raises Unavailable if recovery has rejected it in the meantime."""
    reserved = {int(item.product_id): item for item in reservation.items}
    for line in lines:
        item = reserved[line.product_id]
        line.name, line.unit_price, line.subtotal = item.name, item.unit_price, item.unit_price * line.quantity
    order.total = sum((line.subtotal or Decimal(0) for line in lines), Decimal(0))
    order.confirmed_at = order.updated_at = now()
    order.status, order.version = Order.Status.CONFIRMED, SETTLED_VERSION
    order.customer_name, order.customer_email = customer.name, customer.email
    order.customer_address = customer.address
    message = confirmation(order, lines)
    values = {
        "order": order.pk,
        "at": order.confirmed_at,
        "total": order.total,
        "steps": encode(order.steps).decode(),
        "name": order.customer_name,
        "email": order.customer_email,
        "address": order.customer_address,
        "products": array(line.product_id for line in lines),
        "names": array(reserved[line.product_id].name for line in lines),
        "prices": array(reserved[line.product_id].unit_price for line in lines),
        "snapshot": encode(snapshot(order, lines)).decode(),
        "kind": message.kind,
        "destination": message.destination,
        "aggregate": message.aggregate,
        "message_key": message.key,
        "payload": encode(message.payload).decode(),
    }
    if not prepared_atomic(CONFIRM, {**context.origin(), **values}):
        raise _given_up()
    remember(order.pk)
    _sagas.labels(Order.Status.CONFIRMED.value, "").inc()
    return Placed(order, lines, is_replay=False)


def _given_up() -> Unavailable:
    """The error after recovery has rejected the order. Its key may belong to another order by now."""
    return Unavailable("The order was rejected by recovery before it could be confirmed.")


def _reject_by_rule(order: Order, lines: list[OrderLine], refusal: PeerRefused) -> PlatformError:
    """Rejects an order whose reservation product-service refused. The order keeps the key and the answer."""
    kind = _RULES.get(refusal.code)
    if kind is None:
        _give_up(order)
        return _unavailable(refusal)
    error = kind(refusal.detail, code=refusal.code, errors=[_wire_error(each) for each in refusal.errors])
    stored = {"status": error.status, "code": error.code, "detail": error.detail, "errors": error.errors}
    with context.grace(CLEANUP_SECONDS), transaction.atomic():
        rejected = {"reason": refusal.code, "refusal": stored, "steps": order.steps}
        if not _move(order.pk, Order.Status.PENDING, Order.Status.REJECTED, PLACING, **rejected):
            return _given_up()
        append(_rejection(order, lines, refusal.code))
        release(order.pk)
    _count_rejection(refusal.code)
    return error


def _wire_error(error: FieldError) -> FieldError:
    known = ("field", "code", "detail", *STOCK_SHORTAGE)
    return {name: error[name] for name in known if name in error}


def _give_up(order: Order) -> None:
    """Rejects the order because the caller gets a 503. If this fails too, recovery rejects it later."""
    with context.grace(CLEANUP_SECONDS):
        reject_pending(order.pk, "unavailable", TIMEOUT, steps=order.steps)


def reject_pending(order_id: int, reason: str, actor: str, **changes: Any) -> bool:
    """Rejects a pending order, frees its key, and releases its stock if any was reserved.

    ``actor``: who causes it (`order_svc.actors`). Returns False if the order was not pending any more.
    """
    with transaction.atomic():
        changes |= {"reason": reason, "idempotency_key": None}
        moved = _move(order_id, Order.Status.PENDING, Order.Status.REJECTED, actor, **changes)
        if moved:
            order = Order.objects.get(pk=order_id)
            append(_rejection(order, list(order.lines.all()), reason))
            release(order_id)
    if moved:
        _count_rejection(reason)
    return moved


def _rejection(order: Order, lines: list[OrderLine], reason: str) -> NewEvent:
    """The event of an order that was pending and has just been rejected. ``order`` may be as it was before."""
    data = {**snapshot(order, lines), "status": Order.Status.REJECTED, "version": SETTLED_VERSION, "reason": reason}
    return NewEvent(EventType.ORDER_REJECTED, order.pk, data)


def overdue_orders() -> QuerySet[Order]:
    """Orders that have been pending for longer than any request can run, by Postgres' clock."""
    limit = Now() - timedelta(seconds=settings.PENDING_SECONDS)
    return Order.objects.filter(status=Order.Status.PENDING, created_at__lt=limit)


def stuck_orders() -> list[int]:
    """The ids of orders that somebody should look at: overdue ones, and those with a message that is late or dead.

    At most `MOST_STUCK` of each, the oldest. Two queries, each by an index of what is unfinished.
    """
    overdue = overdue_orders().order_by("created_at").values_list("pk", flat=True)[:MOST_STUCK]
    unsettled = (OutboxMessage.State.PENDING, OutboxMessage.State.DEAD)
    late = OutboxMessage.objects.filter(
        state__in=unsettled, aggregate__startswith="order:", created_at__lt=Now() - LATE_MESSAGE
    )
    aggregates = late.order_by("id").values_list("aggregate", flat=True)[:MOST_STUCK]
    return [*overdue, *(int(each.removeprefix("order:")) for each in aggregates)]


def reject_overdue(order: Order, actor: str = RECOVERING) -> bool:
    """Rejects an order that was left pending. Logs and spans carry the ids of the request that placed it."""
    with context.entered(context.Context(order.request_id, order.traceparent)), tracing.span("recover", "internal"):
        recovered = reject_pending(order.pk, ABANDONED, actor)
    if recovered:
        _recovered.inc()
    return recovered


def reject_order(order_id: int) -> Order:
    """Rejects an overdue order at once, as recovery would do later.

    Raises NotFound; Conflict `invalid_transition` if the order is not overdue and may still be confirmed.
    """
    order = Order.objects.filter(pk=order_id).first()
    if order is None:
        raise NotFound()
    overdue = overdue_orders().filter(pk=order_id).first()
    if overdue is not None and reject_overdue(overdue, acting()):
        forget_failure(RECOVERY, order_id)
        order.refresh_from_db()
    if order.reason != ABANDONED:
        raise Conflict(
            f"Only an overdue pending order can be rejected; this one is {order.status}.", code="invalid_transition"
        )
    return order


def retry_messages(order_id: int) -> int:
    """Makes all undelivered messages of the order due now: requeues the dead ones and ends the backoff of the others.

    Returns how many are pending. Raises NotFound.
    """
    if not Order.objects.filter(pk=order_id).exists():
        raise NotFound()
    messages = OutboxMessage.objects.filter(aggregate=f"order:{order_id}")
    redrive(messages)
    hasten(messages)
    return messages.filter(state=OutboxMessage.State.PENDING).count()


def _unavailable(error: Exception) -> Unavailable:
    if isinstance(error, Unavailable):
        return error
    if context.current().deadline is not None:
        try:
            context.remaining()
        except DeadlineExceeded as exceeded:
            return exceeded
    if isinstance(error, PeerBusy):
        return Unavailable("Too many requests wait for other services at the moment; the order was not placed.")
    peer = error.peer if isinstance(error, PeerError) else "A peer"
    return Unavailable(f"{peer} {_reason(error)}; the order was not placed.")


def _reason(error: Exception) -> str:
    if isinstance(error, CallerRefused):
        return f"{error.summary}, which only the operators can correct"
    if isinstance(error, PeerRefused):
        return f"gave an answer that order-service does not expect ({error.status} {error.code})"
    return "does not answer at the moment"


STATUS_BEFORE = {
    "cancel": Order.Status.CONFIRMED,
    "ship": Order.Status.CONFIRMED,
    "deliver": Order.Status.SHIPPED,
}
"""The status that an order must have for each change."""


def cancel_order(order_id: int, actor: str = "") -> Order:
    """Cancels a confirmed order, releases its stock and notifies the customer.

    ``actor``: who causes it, by default the caller of the request. Raises NotFound, Conflict `invalid_transition`.
    """
    return _transition(order_id, STATUS_BEFORE["cancel"], Order.Status.CANCELLED, actor)


def ship_order(order_id: int) -> Order:
    """Marks a confirmed order as shipped and notifies the customer. Raises NotFound, Conflict `invalid_transition`."""
    return _transition(order_id, STATUS_BEFORE["ship"], Order.Status.SHIPPED)


def deliver_order(order_id: int) -> Order:
    """Marks a shipped order as delivered. Raises NotFound, Conflict `invalid_transition`."""
    return _transition(order_id, STATUS_BEFORE["deliver"], Order.Status.DELIVERED)


@transaction.atomic
def _transition(order_id: int, old: OrderStatus, new: OrderStatus, actor: str = "") -> Order:
    """Changes the status. Does nothing if the order already has the new status.

    An order that is done by this loses its customer's data, if the person was erased while it was open.
    """
    moved = _move(order_id, old, new, actor or acting())
    order = Order.objects.prefetch_related("lines").filter(pk=order_id).first()
    if order is None:
        raise NotFound()
    if order.status in DONE and is_erased(order.user_id):
        Order.objects.filter(pk=order_id).update(**NOBODY)
        order.customer_name = order.customer_email = order.customer_address = None
    if moved:
        append(NewEvent(EventType.of_order(new), order.pk, snapshot(order, list(order.lines.all()))))
        if new in WITHOUT_STOCK:
            release(order.pk)
        enqueue(*(message for message in consequences(order, new) if message.kind != MessageKind.STOCK_RELEASE))
    elif order.status != new:
        raise Conflict(f"An order that is {order.status} cannot become {new.value}.", code="invalid_transition")
    return order


def confirmation(order: Order, lines: list[OrderLine]) -> Message:
    """The message that notifies the customer of the confirmation."""
    return _notification(order, Order.Status.CONFIRMED, f"Order {order.pk} is confirmed", _thanks(order, lines))


def consequences(order: Order, new: OrderStatus) -> list[Message]:
    """The outbox messages that a change to this status causes."""
    if new == Order.Status.REJECTED:
        return [_release(order.pk)]
    if new == Order.Status.CANCELLED:
        text = f"Your order {order.pk} was cancelled. Nothing will be charged."
        return [_release(order.pk), _notification(order, new, f"Order {order.pk} was cancelled", text)]
    if new == Order.Status.SHIPPED:
        text = f"Your order {order.pk} is on its way."
        return [_notification(order, new, f"Order {order.pk} was shipped", text)]
    return []


def _move(order_id: int, old: OrderStatus, new: OrderStatus, actor: str, **changes: Any) -> bool:
    """The conditional update that decides all races for an order's status, and the record of who caused the change.

    Needs a surrounding transaction. Returns whether it changed a row.
    """
    rows, at = Order.objects.filter(pk=order_id, status=old), now()
    moved = bool(rows.update(status=new, version=F("version") + 1, updated_at=at, **changes))
    if moved:
        OrderTransition.objects.create(order_id=order_id, status=new, at=at, actor=actor)
    return moved


def release(order_id: int) -> None:
    """Queues the release of the order's stock, in the surrounding transaction.

    It may be repeated. It also succeeds if an earlier order had this id, before the database lost its transactions.
    """
    message = _release(order_id)
    values = {
        "kind": message.kind,
        "destination": message.destination,
        "aggregate": message.aggregate,
        "message_key": message.key,
        "payload": encode(message.payload).decode(),
    }
    prepared(QUEUE_AGAIN, {**context.origin(), **values})


def reserve_again(order_id: int) -> None:
    """Reserves the stock of a placed order that holds none. If that is refused, a confirmed order is cancelled.

    The customer is notified of the cancellation. Raises PeerUnreachable; PeerRefused if product-service refuses for
    another reason than a rule; PermanentFailure if an order that was shipped gets no stock.
    """
    order = Order.objects.filter(pk=order_id, status__in=HOLDING_STOCK).first()
    if order is None:
        return
    try:
        reserve_stock(order_id, dict(order.lines.values_list("product_id", "quantity")))
    except PeerRefused as refusal:
        if refusal.code not in (*_RULES, "reservation_released"):
            raise
        if order.status != Order.Status.CONFIRMED:
            raise PermanentFailure(f"The order is {order.status}, and holds no stock: {refusal.detail}") from refusal
        cancel_order(order_id, RESERVING)


def _release(order_id: int) -> Message:
    return Message(
        kind=MessageKind.STOCK_RELEASE,
        destination=PRODUCT.name,
        aggregate=f"order:{order_id}",
        key=f"order-{order_id}-release",
        payload={"orderId": order_id},
    )


def _notification(order: Order, status: OrderStatus, subject: str, message: str) -> Message:
    return Message(
        kind=MessageKind.NOTIFICATION_SEND,
        destination=NOTIFICATION.name,
        aggregate=f"order:{order.pk}",
        key=f"order-{order.pk}-{status}",
        payload={"user_id": order.user_id, "type": f"order_{status}", "subject": subject, "message": message},
    )


def addressing(order_id: int) -> dict[str, Any]:
    """What a mail of an order gets from its customer and lines: ``recipient`` and ``data``.

    Empty without a customer, and if the person was erased. It is read when a message is delivered, so that the outbox
    holds no personal data.
    """
    order = Order.objects.prefetch_related("lines").filter(pk=order_id).first()
    if order is None or order.customer_email is None or is_erased(order.user_id):
        return {}
    return addressed(order, order.lines.all())


def addressed(order: Order, lines: Iterable[OrderLine]) -> dict[str, Any]:
    """``recipient`` and ``data`` of the mails of an order that has a customer."""
    return {"recipient": order.customer_email, "data": _mail_data(order, lines)}


def _mail_data(order: Order, its_lines: Iterable[OrderLine]) -> dict[str, Any]:
    """The values for the templates of mails. Amounts are texts, with the decimals of the currency.

    If the lines do not fit into `MAX_DATA_BYTES`, ``moreLines`` counts those that are left out.
    """
    lines = [
        {
            "productId": str(line.product_id),
            "name": line.name,
            "quantity": line.quantity,
            "unitPrice": _amount(line.unit_price, order),
            "subtotal": _amount(line.subtotal, order),
        }
        for line in its_lines
    ]
    data = {
        "orderId": str(order.pk),
        "customer": {"name": order.customer_name, "address": order.customer_address},
        "total": _amount(order.total, order),
        "currency": order.currency,
        "moreLines": len(lines),
        "lines": [],
    }
    left = MAX_DATA_BYTES - len(encode(data))
    sizes = accumulate(len(encode(line)) + 1 for line in lines)  # and a comma
    fitting = [line for line, size in zip(lines, sizes, strict=True) if size <= left]
    return {**data, "lines": fitting, "moreLines": len(lines) - len(fitting)}


def _thanks(order: Order, lines: list[OrderLine]) -> str:
    """The text of the confirmation: at most a hundred lines of at most 250 characters."""

    def shown(amount: Decimal | None) -> str:
        return f"{_amount(amount, order, grouped=True)} {order.currency}"

    rows = [f"{line.quantity} × {line.name}: {shown(line.subtotal)}" for line in lines]
    return "\n".join(["Thank you for your order.", "", *rows, "", f"Total: {shown(order.total)}"])


def _amount(amount: Decimal | None, order: Order, *, grouped: bool = False) -> str:
    return amount_text(amount or Decimal(0), order.currency, grouped=grouped)


def snapshot(order: Order, lines: list[OrderLine]) -> dict[str, Any]:
    """The order as its events carry it. Of two events, the one with the higher version is newer."""
    return {
        "version": order.version,
        "userId": str(order.user_id),
        "status": order.status,
        "total": rounded(order.total),
        "currency": order.currency,
        "createdAt": order.created_at,
        "items": [
            {
                "productId": str(line.product_id),
                "name": line.name,
                "quantity": line.quantity,
                "unitPrice": rounded(line.unit_price),
                "subtotal": rounded(line.subtotal),
            }
            for line in lines
        ],
    }
