"""order-service: the saga that places an order. No transaction is open while another service is asked."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import httpx
from pydantic import ValidationError
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.contenders.fastapi_sqlalchemy.database import now
from benchmarks.contenders.fastapi_sqlalchemy.events import Event, OutboxMessage
from benchmarks.contenders.fastapi_sqlalchemy.order_models import Order, OrderLine, told
from benchmarks.contenders.fastapi_sqlalchemy.peers import ask
from benchmarks.contenders.fastapi_sqlalchemy.problems import FieldError, Problem, unavailable
from benchmarks.contenders.fastapi_sqlalchemy.wire import Received

CURRENCY = "USD"
_NO_ANSWER = "product-service does not answer at the moment; no order was kept."
_RULES = {"insufficient_stock": 409, "unknown_product": 422}


@dataclass(frozen=True, slots=True)
class Claim:
    """An Idempotency-Key and what it was sent with."""

    key: str
    fingerprint: bytes

    @classmethod
    def of(cls, key: str, body: str) -> "Claim":
        return cls(key, hashlib.sha256(body.encode()).digest())


class ReservedItem(Received):
    product_id: int
    name: str
    unit_price: Decimal


class Reservation(Received):
    items: list[ReservedItem]


class Refusal(Received):
    code: str
    detail: str
    errors: list[FieldError] = []


async def place_order(
    session: AsyncSession, http: httpx.AsyncClient, user_id: int, quantities: dict[int, int], claim: Claim | None
) -> Order:
    """A confirmed order of ``{product id: pieces}``. Raises Problem; then no confirmed order is kept."""
    await _check_user(http, user_id)
    order = await _open(session, user_id, quantities, claim)
    order_id = order.id
    try:
        reservation = await _reserve(http, order_id, quantities)
        await _confirm(session, order, reservation)
    except Problem as problem:
        await _reject(session, order_id, problem)
        raise
    except Exception:
        await _reject(session, order_id, unavailable())
        raise
    return order


async def _check_user(http: httpx.AsyncClient, user_id: int) -> None:
    answer = await ask(http, "GET", "user", f"/api/users/{user_id}")
    if answer.status_code == 404:
        detail = f"There is no user {user_id}."
        error = {"field": "userId", "code": "unknown_user", "detail": detail}
        raise Problem(422, "unknown_user", detail, [error])
    if answer.status_code != 200:
        raise unavailable()


async def _open(session: AsyncSession, user_id: int, quantities: dict[int, int], claim: Claim | None) -> Order:
    """The pending order, committed before any side effect."""
    order = Order(
        user_id=user_id,
        currency=CURRENCY,
        total=None,  # said, so that it counts as loaded, and `_move` keeps it up to date
        confirmed_at=None,
        idempotency_key=claim and claim.key,
        fingerprint=claim and claim.fingerprint,
        lines=[OrderLine(product_id=product_id, quantity=quantity) for product_id, quantity in quantities.items()],
    )
    try:
        async with session.begin():
            session.add(order)
    except IntegrityError as error:
        raise in_progress() from error
    return order


def in_progress() -> Problem:
    detail = "The first request with this Idempotency-Key is still running."
    return Problem(409, "idempotency_in_progress", detail, headers={"Retry-After": "1"})


async def _reserve(http: httpx.AsyncClient, order_id: int, quantities: dict[int, int]) -> Reservation:
    items = [{"productId": str(product_id), "quantity": quantity} for product_id, quantity in quantities.items()]
    answer = await ask(http, "PUT", "product", f"/api/stock-reservations/{order_id}", json={"items": items})
    try:
        if answer.is_success:
            return Reservation.model_validate_json(answer.content)
        refusal = Refusal.model_validate_json(answer.content)
    except ValidationError as error:
        raise unavailable(_NO_ANSWER) from error
    if answer.status_code != _RULES.get(refusal.code):
        raise unavailable(_NO_ANSWER)
    raise Problem(answer.status_code, refusal.code, refusal.detail, refusal.errors)


async def _confirm(session: AsyncSession, order: Order, reservation: Reservation) -> None:
    """Raises Problem 503 when recovery or a cancel was faster."""
    reserved = {item.product_id: item for item in reservation.items}
    async with session.begin():
        for line in order.lines:
            item = reserved[line.product_id]
            line.name, line.unit_price, line.subtotal = item.name, item.unit_price, item.unit_price * line.quantity
        total = sum((line.subtotal or Decimal(0) for line in order.lines), Decimal(0))
        at = now()
        if not await _move(session, order.id, "confirmed", at, total=total, confirmed_at=at):
            raise unavailable("The order was given up before it could be confirmed.")
        session.add(Event(type="order.confirmed", subject=str(order.id), data=told(order)))
        session.add(_confirmation(order))


async def _reject(session: AsyncSession, order_id: int, problem: Problem) -> None:
    """What a rule refused keeps its answer; after a 503 the key is free again."""
    if problem.code in _RULES:
        answer = {"status": problem.status, "code": problem.code, "detail": problem.detail, "errors": problem.errors}
        changes: dict[str, Any] = {"reason": problem.code, "refusal": answer}
    else:
        changes = {"reason": "unavailable", "idempotency_key": None}
    async with session.begin():
        if await _move(session, order_id, "rejected", now(), **changes):
            session.add(_release(order_id))


async def _move(session: AsyncSession, order_id: int, status: str, at: datetime, **changes: Any) -> bool:
    """The conditional update that decides every race over an order's state. The session's order follows it."""
    moved = await session.execute(
        update(Order)
        .where(Order.id == order_id, Order.status == "pending")
        .values(status=status, version=Order.version + 1, updated_at=at, **changes)
    )
    return bool(moved.rowcount)


def _confirmation(order: Order) -> OutboxMessage:
    rows = [f"{line.quantity} × {line.name}: {line.subtotal} {order.currency}" for line in order.lines]
    thanks = ["Thank you for your order.", "", *rows, "", f"Total: {order.total} {order.currency}"]
    return OutboxMessage(
        kind="notification.send",
        destination="notification-service",
        aggregate=f"order:{order.id}",
        key=f"order-{order.id}-confirmed",
        payload={
            "user_id": order.user_id,
            "type": "order_confirmed",
            "subject": f"Order {order.id} is confirmed",
            "message": "\n".join(thanks),
        },
    )


def _release(order_id: int) -> OutboxMessage:
    return OutboxMessage(
        kind="stock.release",
        destination="product-service",
        aggregate=f"order:{order_id}",
        key=f"order-{order_id}-release",
        payload={"orderId": order_id},
    )
