"""order-service: the saga that places an order. No transaction is open during calls to other services."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import httpx
from pydantic import ValidationError
from sqlalchemy import bindparam, insert, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.contenders.fastapi_sqlalchemy.database import now
from benchmarks.contenders.fastapi_sqlalchemy.events import append, enqueue, event
from benchmarks.contenders.fastapi_sqlalchemy.order_models import order_lines, orders
from benchmarks.contenders.fastapi_sqlalchemy.peers import ask
from benchmarks.contenders.fastapi_sqlalchemy.problems import FieldError, Problem, unavailable
from benchmarks.contenders.fastapi_sqlalchemy.wire import Received

CURRENCY = "USD"
_NO_ANSWER = "product-service does not answer at the moment; the order was not placed."
_RULES = {"insufficient_stock": 409, "unknown_product": 422}

_OPEN = insert(orders).returning(orders.c.id)
_ITEMS = insert(order_lines)
_PRICE = update(order_lines).where(
    order_lines.c.order_id == bindparam("of_order"), order_lines.c.product_id == bindparam("of_product")
)
_MOVE = (
    update(orders)
    .where(orders.c.id == bindparam("pending_order"), orders.c.status == "pending")
    .values(version=orders.c.version + 1)
)


@dataclass(frozen=True, slots=True)
class Claim:
    """An Idempotency-Key with its request."""

    key: str
    fingerprint: bytes

    @classmethod
    def of(cls, key: str, body: str) -> "Claim":
        return cls(key, hashlib.sha256(body.encode()).digest())


class ReservedItem(Received):
    product_id: int
    name: str
    unit_price: Decimal
    quantity: int


class Reservation(Received):
    items: list[ReservedItem]


class Refusal(Received):
    code: str
    detail: str
    errors: list[FieldError] = []


@dataclass(slots=True)
class Line:
    product_id: int
    quantity: int
    name: str | None = None
    unit_price: Decimal = Decimal(0)
    subtotal: Decimal = Decimal(0)


@dataclass(slots=True)
class Placed:
    """An order during the saga."""

    id: int
    user_id: int
    lines: list[Line]
    created_at: datetime
    updated_at: datetime
    status: str = "pending"
    total: Decimal = Decimal(0)
    currency: str = CURRENCY


async def place_order(
    session: AsyncSession, http: httpx.AsyncClient, user_id: int, quantities: dict[int, int], claim: Claim | None
) -> Placed:
    """Places an order of ``{product id: quantity}``. Raises Problem if it cannot be confirmed."""
    await _check_user(http, user_id)
    order = await _open(session, user_id, quantities, claim)
    try:
        reservation = await _reserve(http, order.id, quantities)
        await _confirm(session, order, reservation)
    except Problem as problem:
        await _reject(session, order.id, problem)
        raise
    except Exception:
        await _reject(session, order.id, unavailable())
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


async def _open(session: AsyncSession, user_id: int, quantities: dict[int, int], claim: Claim | None) -> Placed:
    """Commits the pending order before any side effect."""
    at = now()
    row = {"user_id": user_id, "currency": CURRENCY, "created_at": at, "updated_at": at}
    if claim:
        row |= {"idempotency_key": claim.key, "fingerprint": claim.fingerprint}
    lines = [Line(product_id, quantity) for product_id, quantity in quantities.items()]
    try:
        async with session.begin():
            order = Placed(await session.scalar(_OPEN, row), user_id, lines, at, at)
            await session.execute(_ITEMS, [_item(order, line) for line in lines])
    except IntegrityError as error:
        raise in_progress() from error
    return order


def _item(order: Placed, line: Line) -> dict[str, Any]:
    return {"order_id": order.id, "product_id": line.product_id, "quantity": line.quantity}


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


async def _confirm(session: AsyncSession, order: Placed, reservation: Reservation) -> None:
    """Confirms the order. Raises Problem 503 if recovery has rejected it."""
    _price(order, reservation)
    order.status, order.updated_at = "confirmed", now()
    confirmed = {"status": order.status, "total": order.total, "confirmed_at": order.updated_at}
    async with session.begin():
        if not await _move(session, order.id, order.updated_at, confirmed):
            raise unavailable("The order was rejected by recovery before it could be confirmed.")
        await session.execute(_PRICE, [_priced(order, line) for line in order.lines])
        await append(session, event("order.confirmed", order.id, _event_data(order)))
        await enqueue(session, _confirmation(order))


def _price(order: Placed, reservation: Reservation) -> None:
    """Checks the reservation. Raises Problem 503 if it differs from the request."""
    reserved = {item.product_id: item for item in reservation.items}
    if {line.product_id: line.quantity for line in order.lines} != {
        i.product_id: i.quantity for i in reservation.items
    }:
        raise unavailable(_NO_ANSWER)
    for line in order.lines:
        item = reserved[line.product_id]
        line.name, line.unit_price, line.subtotal = item.name, item.unit_price, item.unit_price * line.quantity
        order.total += line.subtotal


def _priced(order: Placed, line: Line) -> dict[str, Any]:
    priced = {"name": line.name, "unit_price": line.unit_price, "subtotal": line.subtotal}
    return {"of_order": order.id, "of_product": line.product_id, **priced}


async def _reject(session: AsyncSession, order_id: int, problem: Problem) -> None:
    """Rejects the order. A refusal by a rule is stored for the key; after a 503 the key is free again."""
    if problem.code in _RULES:
        answer = {"status": problem.status, "code": problem.code, "detail": problem.detail, "errors": problem.errors}
        changes: dict[str, Any] = {"reason": problem.code, "refusal": answer}
    else:
        changes = {"reason": "unavailable", "idempotency_key": None}
    async with session.begin():
        if await _move(session, order_id, now(), {"status": "rejected", **changes}):
            await enqueue(session, _release(order_id))


async def _move(session: AsyncSession, order_id: int, at: datetime, changes: dict[str, Any]) -> bool:
    """The conditional update that decides all races for an order's status."""
    return bool((await session.execute(_MOVE, {"pending_order": order_id, "updated_at": at, **changes})).rowcount)


def _event_data(order: Placed) -> dict[str, Any]:
    """A confirmed order as its event carries it."""
    return {
        "version": 2,
        "userId": str(order.user_id),
        "status": order.status,
        "total": float(order.total),
        "currency": order.currency,
        "createdAt": order.created_at,
        "items": [
            {
                "productId": str(line.product_id),
                "name": line.name,
                "quantity": line.quantity,
                "unitPrice": float(line.unit_price),
                "subtotal": float(line.subtotal),
            }
            for line in order.lines
        ],
    }


def _confirmation(order: Placed) -> dict[str, Any]:
    rows = [f"{line.quantity} × {line.name}: {line.subtotal} {order.currency}" for line in order.lines]
    thanks = ["Thank you for your order.", "", *rows, "", f"Total: {order.total} {order.currency}"]
    return {
        "kind": "notification.send",
        "destination": "notification-service",
        "aggregate": f"order:{order.id}",
        "key": f"order-{order.id}-confirmed",
        "payload": {
            "user_id": order.user_id,
            "type": "order_confirmed",
            "subject": f"Order {order.id} is confirmed",
            "message": "\n".join(thanks),
        },
    }


def _release(order_id: int) -> dict[str, Any]:
    return {
        "kind": "stock.release",
        "destination": "product-service",
        "aggregate": f"order:{order_id}",
        "key": f"order-{order_id}-release",
        "payload": {"orderId": order_id},
    }
