"""order-service."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import Field, model_validator
from sqlalchemy import Select, bindparam, func, literal_column, select, text
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from benchmarks.contenders.fastapi_sqlalchemy.database import Reading, Writing
from benchmarks.contenders.fastapi_sqlalchemy.order_models import Order, order_lines, orders
from benchmarks.contenders.fastapi_sqlalchemy.peers import Http
from benchmarks.contenders.fastapi_sqlalchemy.placing import Claim, in_progress, place_order
from benchmarks.contenders.fastapi_sqlalchemy.problems import Problem, not_found
from benchmarks.contenders.fastapi_sqlalchemy.service import create_app
from benchmarks.contenders.fastapi_sqlalchemy.wire import Answer, Id, IdInPath, Page, PageQuery, Received, columns, page

router = APIRouter(prefix="/api")
Quantity = Annotated[int, Field(ge=1, le=1_000_000)]
_PAID = ("confirmed", "shipped", "delivered")


class ItemBody(Received):
    product_id: Id
    quantity: Quantity


class OrderBody(Received):
    """`productId` and `quantity`, or `items`."""

    user_id: Id
    product_id: Id | None = None
    quantity: Quantity | None = None
    items: list[ItemBody] | None = Field(None, min_length=1, max_length=100)

    @model_validator(mode="after")
    def _is_one_of_two(self) -> "OrderBody":
        single = (self.product_id is not None, self.quantity is not None)
        if single != (self.items is None, self.items is None):
            raise ValueError("Give either productId and quantity, or items.")
        return self

    def quantities(self) -> dict[int, int]:
        """Quantities by product. The lines of one product are summed."""
        if self.product_id is not None and self.quantity is not None:
            return {self.product_id: self.quantity}
        summed: dict[int, int] = {}
        for item in self.items or ():
            summed[item.product_id] = summed.get(item.product_id, 0) + item.quantity
        return summed


class LineAnswer(Answer):
    product_id: str
    name: str | None
    unit_price: float | None
    quantity: int
    subtotal: float | None


class OrderAnswer(Answer):
    id: str
    user_id: str
    status: str
    items: list[LineAnswer] = Field(validation_alias="lines")
    total: float | None
    currency: str
    created_at: datetime
    updated_at: datetime


def _with_items() -> Select[Any]:
    """Orders, each with its lines as JSON that Postgres builds: one query."""
    line = func.json_build_object(
        *(part for column in columns(order_lines, LineAnswer) for part in (literal_column(f"'{column.key}'"), column))
    )
    lines = func.coalesce(func.json_agg(aggregate_order_by(line, order_lines.c.id)), text("'[]'"))
    of_order = select(lines).where(order_lines.c.order_id == orders.c.id).scalar_subquery()
    return select(*columns(orders, OrderAnswer), of_order.label("lines"))


_ORDERS = _with_items()
_ORDER = _ORDERS.add_columns(orders.c.version).where(orders.c.id == bindparam("order_id"))
_NEWEST = _ORDERS.order_by(orders.c.id.desc()).limit(bindparam("rows")).offset(bindparam("beginning"))


class OrderStats(Answer):
    total: int
    by_status: dict[str, int]
    revenue: float
    average_order_value: float


@router.post("/orders", status_code=201, response_model=OrderAnswer)
async def create_order(
    body: OrderBody,
    session: Writing,
    reading: Reading,
    http: Http,
    response: Response,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255, pattern=r"^[\x20-\x7e]+$")] = None,
) -> Any:
    claim = Claim.of(idempotency_key, body.model_dump_json()) if idempotency_key else None
    earlier = await _earlier(reading, claim) if claim else None
    if earlier:
        response.headers["Idempotent-Replayed"] = "true"
    order = earlier or await place_order(session, http, body.user_id, body.quantities(), claim)
    response.headers["Location"] = f"/api/orders/{order.id}"
    return order


async def _earlier(session: AsyncSession, claim: Claim) -> OrderAnswer | None:
    """The answer of the order that has this key."""
    found = (
        select(Order).where(Order.caller == "", Order.idempotency_key == claim.key).options(selectinload(Order.lines))
    )
    order = await session.scalar(found)
    if order is None:
        return None
    if order.fingerprint != claim.fingerprint:
        raise Problem(422, "idempotency_key_reused", "This Idempotency-Key was used with another request.")
    if order.status == "pending":
        raise in_progress()
    if order.refusal:
        raise Problem(**order.refusal, headers={"Idempotent-Replayed": "true"})
    answer = OrderAnswer.model_validate(order)
    return answer.model_copy(update={"status": "confirmed", "updated_at": order.confirmed_at})


@router.get("/orders/{order_id}", response_model=OrderAnswer)
async def get_order(
    order_id: IdInPath,
    session: Reading,
    response: Response,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Any:
    order = (await session.execute(_ORDER, {"order_id": order_id})).one_or_none()
    if order is None:
        raise not_found()
    etag = f'"{order.version}"'
    if if_none_match == etag:
        return Response(status_code=304, headers={"ETag": etag})
    response.headers["ETag"] = etag
    return order


@router.get("/orders", response_model=Page[OrderAnswer])
async def list_orders(query: Annotated[PageQuery, Query()], session: Reading, request: Request) -> Any:
    found = await session.execute(_NEWEST, {"rows": query.limit + 1, "beginning": query.offset})
    return page(request, found.all(), query)


@router.get("/stats", response_model=OrderStats)
async def get_stats(session: Reading) -> Any:
    rows = await session.execute(
        select(Order.status, func.count().label("orders"), func.sum(Order.total).label("value"))
        .where(Order.status.not_in(("pending", "rejected")))
        .group_by(Order.status)
    )
    found = {row.status: row for row in rows}
    by_status = {status: found[status].orders if status in found else 0 for status in (*_PAID, "cancelled")}
    revenue = sum(found[status].value for status in _PAID if status in found)
    paid = sum(by_status[status] for status in _PAID)
    return {
        "total": sum(by_status.values()),
        "by_status": by_status,
        "revenue": revenue,
        "average_order_value": round(revenue / paid, 2) if paid else 0,
    }


app = create_app("order-service", router)
