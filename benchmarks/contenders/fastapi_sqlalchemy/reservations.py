"""product-service: reserves the stock of an order, all or nothing. The order's id is the key, so it can be repeated."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Response
from pydantic import Field
from sqlalchemy import Row, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.contenders.fastapi_sqlalchemy.database import Writing
from benchmarks.contenders.fastapi_sqlalchemy.events import append, event
from benchmarks.contenders.fastapi_sqlalchemy.problems import FieldError, Problem
from benchmarks.contenders.fastapi_sqlalchemy.product_models import (
    ReservationLine,
    StockReservation,
    event_data,
    movement,
    products,
    record,
)
from benchmarks.contenders.fastapi_sqlalchemy.wire import Answer, Id, IdInPath, Received

router = APIRouter(prefix="/api")


_KIND = "reservation"
_reservations, _lines = StockReservation.__table__, ReservationLine.__table__
_CLAIM = insert(_reservations).on_conflict_do_nothing().returning(_reservations.c.order_id)
_STATUS = select(_reservations.c.status).where(_reservations.c.order_id == bindparam("order_id"))
_HOLD = insert(_lines)
_HELD = select(_lines).where(_lines.c.reservation_id == bindparam("order_id")).order_by(_lines.c.id)
_TAKE = (
    update(products)
    .where(
        products.c.id == bindparam("product_id"),
        products.c.stock >= bindparam("quantity"),
        products.c.deleted_at.is_(None),
    )
    .values(stock=products.c.stock - bindparam("quantity"), version=products.c.version + 1, updated_at=func.now())
    .returning(*products.c)
)


class ItemBody(Received):
    product_id: Id
    quantity: int = Field(ge=1, le=100_000_000)


class ReservationBody(Received):
    items: list[ItemBody] = Field(min_length=1, max_length=100)

    def quantities(self) -> dict[int, int]:
        """Quantities by product. The items of one product are summed."""
        summed: dict[int, int] = {}
        for item in self.items:
            summed[item.product_id] = summed.get(item.product_id, 0) + item.quantity
        return summed


class ItemAnswer(Answer):
    product_id: str
    name: str
    unit_price: float
    quantity: int


class ReservationAnswer(Answer):
    order_id: str
    status: str
    items: list[ItemAnswer]


class _Short(Exception):
    """A conditional update changed no row: the stock is too small, or the product does not exist."""


@router.put("/stock-reservations/{order_id}", status_code=201, response_model=ReservationAnswer)
async def reserve_stock(order_id: IdInPath, body: ReservationBody, session: Writing, response: Response) -> Any:
    quantities = body.quantities()
    while True:
        try:
            async with session.begin():
                if await _claim(session, order_id):
                    lines = await _take(session, order_id, quantities)
                else:
                    response.status_code = 200
                    lines = await _taken_before(session, order_id, quantities)
            return {"order_id": order_id, "status": "reserved", "items": lines}
        except _Short:
            await _refuse(session, [item.product_id for item in body.items], quantities)
            # The missing stock has been added in the meantime: try again.


async def _claim(session: AsyncSession, order_id: int) -> bool:
    """Inserts the row, after waiting for a concurrent insert. Returns whether it was inserted."""
    return await session.scalar(_CLAIM, {"order_id": order_id}) is not None


async def _take(session: AsyncSession, order_id: int, quantities: Mapping[int, int]) -> list[dict[str, Any]]:
    """One conditional update per product in id order, so that two orders cannot deadlock."""
    taken = {wanted: await _take_one(session, wanted, quantities[wanted]) for wanted in sorted(quantities)}
    found = [_line(order_id, wanted, quantity, taken[wanted]) for wanted, quantity in quantities.items()]
    await session.execute(_HOLD, found)
    await record(
        session,
        *(movement(product.id, -quantities[product.id], product.stock, _KIND, order_id) for product in taken.values()),
    )
    await append(session, *(_changed(order_id, -quantities[product.id], product) for product in taken.values()))
    return found


async def _take_one(session: AsyncSession, product_id: int, quantity: int) -> Row[Any]:
    product = (await session.execute(_TAKE, {"product_id": product_id, "quantity": quantity})).one_or_none()
    if product is None:
        raise _Short
    return product


def _line(order_id: int, product_id: int, quantity: int, product: Row[Any]) -> dict[str, Any]:
    about = {"name": product.name, "unit_price": product.price}
    return {"reservation_id": order_id, "product_id": product_id, "quantity": quantity, **about}


def _changed(order_id: int, delta: int, product: Row[Any]) -> dict[str, Any]:
    change = {"delta": delta, "reason": _KIND, "orderId": str(order_id)}
    return event("stock.changed", product.id, event_data(product) | change)


async def _taken_before(session: AsyncSession, order_id: int, quantities: Mapping[int, int]) -> Sequence[Row[Any]]:
    if await session.scalar(_STATUS, {"order_id": order_id}) == "released":
        raise Problem(409, "reservation_released", "The reservation of this order was released; it stays so.")
    found = (await session.execute(_HELD, {"order_id": order_id})).all()
    if {line.product_id: line.quantity for line in found} != quantities:
        raise Problem(409, "reservation_conflict", "This order has reserved other items before.")
    return found


async def _refuse(session: AsyncSession, product_ids: list[int], quantities: Mapping[int, int]) -> None:
    """Raises the error for missing stock. It runs after the rollback, when the stock may suffice again."""
    async with session.begin():
        found = select(products.c.id, products.c.stock).where(
            products.c.id.in_(quantities), products.c.deleted_at.is_(None)
        )
        stocks = {row.id: row.stock for row in await session.execute(found)}
    fields = {product_id: f"items[{product_ids.index(product_id)}]" for product_id in quantities}
    unknown = [_unknown(fields[wanted], wanted) for wanted in quantities if wanted not in stocks]
    if unknown:
        raise Problem(422, "unknown_product", "A product does not exist.", unknown)
    short = [
        _short(fields[product_id], product_id, quantity, stocks[product_id])
        for product_id, quantity in quantities.items()
        if stocks[product_id] < quantity
    ]
    if short:
        raise Problem(409, "insufficient_stock", "There is not enough stock.", short)


def _unknown(field: str, product_id: int) -> FieldError:
    detail = f"There is no product {product_id}."
    return {"field": field, "code": "unknown_product", "detail": detail, "productId": str(product_id)}


def _short(field: str, product_id: int, requested: int, available: int) -> FieldError:
    detail = f"{requested} wanted, {available} in stock."
    about = {"productId": str(product_id), "requested": requested, "available": available}
    return {"field": field, "code": "insufficient_stock", "detail": detail, **about}
