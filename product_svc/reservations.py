"""Taking stock for an order, and giving it back. Keyed by the order, so that repeating either is harmless.

The reservation is the validation: nothing reads the stock first and takes it later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.utils.timezone import now

from platform_core import context
from platform_core.database import array, prepared_atomic
from platform_core.errors import Conflict, FieldError, PlatformError, Unprocessable
from platform_core.events.log import NewEvent, append
from product_svc.models import Product, ReservationLine, StockMovement, StockReservation
from product_svc.statements import RESERVE

_CLAIM = """
    INSERT INTO product_svc_stockreservation (order_id, status, created_at) VALUES (%s, 'released', now())
    ON CONFLICT DO NOTHING
"""
_LOCK = "SELECT FROM product_svc_product WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE"
_GIVE = """
    UPDATE product_svc_product SET stock = stock + %(n)s, version = version + 1, updated_at = now()
    WHERE id = %(id)s
    RETURNING name, category, price, stock, version, created_at
"""


@dataclass(frozen=True, slots=True)
class _Moved:
    """A product's row after its stock was changed by ``delta``."""

    product_id: int
    delta: int
    name: str
    category: str
    price: Any
    stock: int
    version: int
    created_at: Any

    def event(self, order_id: int, reason: str) -> NewEvent:
        data = {
            "version": self.version,
            "name": self.name,
            "category": self.category,
            "price": self.price,
            "stock": self.stock,
            "createdAt": self.created_at,
            "delta": self.delta,
            "reason": reason,
            "orderId": str(order_id),
        }
        return NewEvent("stock.changed", self.product_id, data)


class Reserved(NamedTuple):
    reservation: StockReservation
    lines: list[ReservationLine]
    is_new: bool


def reserve(order_id: int, items: Sequence[tuple[int, int]]) -> Reserved:
    """Take the stock of an order, ``(product id, pieces)`` for each item, all or nothing; a product's items are summed.

    Raises Conflict `insufficient_stock`, `reservation_released` or `reservation_conflict`, and Unprocessable
    `unknown_product`; the errors name a product's first item.
    """
    quantities: dict[int, int] = {}
    for product_id, quantity in items:
        quantities[product_id] = quantities.get(product_id, 0) + quantity
    values: dict[str, Any] = {
        "order": order_id,
        "products": array(quantities),
        "quantities": array(quantities.values()),
        "count": len(quantities),
    }
    while True:
        rows = prepared_atomic(RESERVE, {**context.origin(), **values})
        if rows:
            return _reserved(order_id, rows)
        earlier = StockReservation.objects.filter(order_id=order_id).first()
        if earlier is not None:
            return _reserved_before(earlier, quantities)
        refusal = _refusal([product_id for product_id, _ in items], quantities)
        if refusal is not None:
            raise refusal
        # What was missing has come in meanwhile.


def _reserved(order_id: int, rows: list[tuple[Any, ...]]) -> Reserved:
    lines = [
        ReservationLine(reservation_id=order_id, product_id=product_id, name=name, unit_price=price, quantity=quantity)
        for product_id, name, price, quantity in rows
    ]
    return Reserved(StockReservation(order_id=order_id, status=StockReservation.Status.RESERVED), lines, True)


@transaction.atomic
def release(order_id: int) -> None:
    """Give the stock of an order back. A tombstone stays, also for an order never seen, and refuses a late reserve."""
    if _claim(order_id):
        return
    lines = ReservationLine.objects.filter(reservation_id=order_id).order_by("product_id")
    quantities = dict(lines.values_list("product_id", "quantity"))
    _lock(list(quantities))
    held = StockReservation.objects.filter(order_id=order_id, status=StockReservation.Status.RESERVED)
    if held.update(status=StockReservation.Status.RELEASED, released_at=now()):
        _record(order_id, [_give(*line) for line in quantities.items()])


def _claim(order_id: int) -> bool:
    """Whether the tombstone is ours; False when there was a row. It waits for whoever is just writing one."""
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, [order_id])
        return bool(cursor.rowcount == 1)


def _lock(product_ids: list[int]) -> None:
    """In id order, and before the reservation: whoever takes stock does so, too."""
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, [product_ids])


def _give(product_id: int, quantity: int) -> _Moved:
    with connection.cursor() as cursor:
        cursor.execute(_GIVE, {"id": product_id, "n": quantity})
        return _Moved(product_id, quantity, *cursor.fetchone())


def _record(order_id: int, moved: list[_Moved]) -> None:
    kind = StockMovement.Reason.RELEASE
    StockMovement.objects.bulk_create(
        StockMovement(product_id=m.product_id, delta=m.delta, stock=m.stock, kind=kind, order_id=order_id)
        for m in moved
    )
    append(*(m.event(order_id, kind.value) for m in moved))


def _reserved_before(reservation: StockReservation, quantities: Mapping[int, int]) -> Reserved:
    if reservation.status == StockReservation.Status.RELEASED:
        raise Conflict("The reservation of this order was released; it stays so.", code="reservation_released")
    lines = list(ReservationLine.objects.filter(reservation=reservation))
    if {line.product_id: line.quantity for line in lines} != dict(quantities):
        raise Conflict("This order has reserved other items before.", code="reservation_conflict")
    return Reserved(reservation, lines, False)


def _refusal(product_ids: list[int], quantities: Mapping[int, int]) -> PlatformError | None:
    """Which items cannot be had, if any, as of now."""
    stocks = dict(Product.objects.filter(pk__in=quantities, deleted_at=None).values_list("pk", "stock"))
    unknown: list[FieldError] = []
    short: list[FieldError] = []
    for product_id, quantity in quantities.items():
        field = f"items[{product_ids.index(product_id)}]"
        if product_id not in stocks:
            detail = f"There is no product {product_id}."
            unknown.append({"field": field, "code": "unknown_product", "detail": detail})
            unknown[-1]["productId"] = str(product_id)
        elif stocks[product_id] < quantity:
            detail = f"{quantity} wanted, {stocks[product_id]} in stock."
            short.append({"field": field, "code": "insufficient_stock", "detail": detail})
            short[-1] |= {"productId": str(product_id), "requested": quantity, "available": stocks[product_id]}
    if unknown:
        return Unprocessable("A product does not exist.", code="unknown_product", errors=unknown)
    return Conflict("There is not enough stock.", code="insufficient_stock", errors=short) if short else None
