"""Reserves and releases the stock of orders. The order's id is the key, so both can be repeated safely.

The reservation is the validation: no code checks the stock first and takes it later.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from django.db import IntegrityError, connection, transaction
from django.utils.timezone import now

from platform_core.db import array, lock_milliseconds, prepared_atomic, violated_constraint
from platform_core.events import NewEvent, append
from platform_core.http import Conflict, FieldError, PlatformError, Unprocessable, context
from platform_core.vocabulary import EventType, ReservationStatus
from product_svc.actors import actor
from product_svc.events import snapshot
from product_svc.models import STOCK_CHECK, Product, ReservationLine, StockMovement, StockReservation
from product_svc.statements import LOCK, RELEASE, RESERVE

_CLAIM = f"""
    INSERT INTO product_svc_stockreservation (order_id, status, created_at)
    VALUES (%s, '{ReservationStatus.RELEASED}', now())
    ON CONFLICT DO NOTHING
"""


class Reserved(NamedTuple):
    reservation: StockReservation
    lines: list[ReservationLine]
    is_new: bool


def reserve(order_id: int, items: Sequence[tuple[int, int]]) -> Reserved:
    """Reserves the stock of an order, all or nothing. Items are ``(product id, quantity)``, summed for each product.

    Raises Conflict `insufficient_stock`, `reservation_released` or `reservation_conflict`, and Unprocessable
    `unknown_product`; the errors name a product's first item. Retries if the stock changes concurrently, and raises
    DeadlineExceeded if there is no time for another attempt. Raises OperationalError if another transaction holds a
    product for too long (503).
    """
    quantities: dict[int, int] = {}
    for product_id, quantity in items:
        quantities[product_id] = quantities.get(product_id, 0) + quantity
    values: dict[str, Any] = {
        "order": order_id,
        "actor": actor(),
        "products": array(quantities),
        "quantities": array(quantities.values()),
        "count": len(quantities),
    }
    while True:
        try:
            rows = prepared_atomic(RESERVE, {**context.origin(), **values, "lock_ms": lock_milliseconds()})
        except IntegrityError as error:
            if violated_constraint(error) != STOCK_CHECK:
                raise
            continue  # the stock rose while the statement waited for the row
        if rows:
            return _reserved(order_id, rows)
        earlier = StockReservation.objects.filter(order_id=order_id).first()
        if earlier is not None:
            return _reserved_before(earlier, quantities)
        refusal = _refusal([product_id for product_id, _ in items], quantities)
        if refusal is not None:
            raise refusal
        # The missing stock or product has been added in the meantime: try again.


def _reserved(order_id: int, rows: list[tuple[Any, ...]]) -> Reserved:
    lines = [
        ReservationLine(reservation_id=order_id, product_id=product_id, name=name, unit_price=price, quantity=quantity)
        for product_id, name, price, quantity in rows
    ]
    return Reserved(StockReservation(order_id=order_id, status=StockReservation.Status.RESERVED), lines, True)


@transaction.atomic
def release(order_id: int) -> None:
    """Releases the stock of an order, also of an unknown one. It leaves a tombstone, which refuses a late reserve."""
    if _claim(order_id):
        return
    lines = ReservationLine.objects.filter(reservation_id=order_id).order_by("product_id")
    quantities = dict(lines.values_list("product_id", "quantity"))
    _lock(list(quantities))
    held = StockReservation.objects.filter(order_id=order_id, status=StockReservation.Status.RESERVED)
    if held.update(status=StockReservation.Status.RELEASED, released_at=now()):
        given = [_give(order_id, *line) for line in quantities.items()]
        StockMovement.objects.bulk_create(movement for movement, _ in given)
        append(*(event for _, event in given))


def _claim(order_id: int) -> bool:
    """Inserts a tombstone, after waiting for a concurrent insert. Returns False if the order already has a row."""
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, [order_id])
        return bool(cursor.rowcount == 1)


def _lock(product_ids: list[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(LOCK, {"products": product_ids, "lock_ms": lock_milliseconds()})


def _give(order_id: int, product_id: int, quantity: int) -> tuple[StockMovement, NewEvent]:
    """Returns the stock to the products. The caller must write the movements and the events."""
    (product,) = Product.objects.raw(RELEASE, {"id": product_id, "n": quantity})
    kind = StockMovement.Reason.RELEASE
    movement = StockMovement(
        product=product, delta=quantity, stock=product.stock, kind=kind, order_id=order_id, actor=actor()
    )
    data = {**snapshot(product), "delta": quantity, "reason": kind.value, "orderId": str(order_id)}
    return movement, NewEvent(EventType.STOCK_CHANGED, product.pk, data)


def _reserved_before(reservation: StockReservation, quantities: Mapping[int, int]) -> Reserved:
    if reservation.status == StockReservation.Status.RELEASED:
        raise Conflict(
            "The reservation of this order has been released and cannot be made again.", code="reservation_released"
        )
    lines = list(ReservationLine.objects.filter(reservation=reservation))
    if {line.product_id: line.quantity for line in lines} != dict(quantities):
        raise Conflict("This order already has a reservation with other items.", code="reservation_conflict")
    return Reserved(reservation, lines, False)


def _refusal(product_ids: list[int], quantities: Mapping[int, int]) -> PlatformError | None:
    """The error for items that are missing or short at present. Returns None if there are none."""
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
