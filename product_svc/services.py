"""Use cases of the catalog and of manual stock adjustments. Each is one transaction."""

from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils.timezone import now

from platform_core.api import declared, encode
from platform_core.db import prepared_atomic
from platform_core.events import NewEvent, append
from platform_core.http import Conflict, NotFound, context
from platform_core.models import write
from platform_core.vocabulary import EventType
from product_svc.actors import actor
from product_svc.events import snapshot
from product_svc.models import Product, StockMovement
from product_svc.statements import CREATE, MOVE, values_of
from product_svc.stock_levels import MAX_STOCK


def live_products() -> QuerySet[Product]:
    return declared(Product, deleted_at=None)


def create_product(*, stock: int = 0, **catalog: Any) -> Product:
    """Creates a product in one statement. Raises IntegrityError of the constraint `product_sku_taken`."""
    product = Product(stock=stock, **catalog)
    product.updated_at = product.created_at
    event = {"snapshot": encode(snapshot(product)).decode()}
    ((product.pk,),) = prepared_atomic(CREATE, {**context.origin(), **values_of(product), **event, "actor": actor()})
    return product


@transaction.atomic
def update_product(product_id: int, expected: list[int] | None, *, stock: int | None = None, **changes: Any) -> Product:
    """Updates a product. A given ``stock`` is recorded as an adjustment by the difference.

    Raises NotFound, PreconditionFailed, IntegrityError of the constraint `product_sku_taken`.
    """
    write(live_products().filter(pk=product_id), expected, **changes)
    product = Product.objects.get(pk=product_id)  # the row is locked until the end of the transaction
    delta = 0 if stock is None else stock - product.stock
    if delta:
        (moved,) = Product.objects.raw(MOVE, {"product": product_id, "delta": delta})
        product.stock = moved.stock
        record_movement(product_id, delta, product.stock, StockMovement.Reason.ADJUSTMENT, reason="set")
    append(*events_of_change(product, delta))
    return product


def events_of_change(product: Product, delta: int) -> list[NewEvent]:
    """The events of a changed product whose stock changed by ``delta``."""
    updated = NewEvent(EventType.PRODUCT_UPDATED, product.pk, snapshot(product))
    return [updated, _stock_changed(product, delta)] if delta else [updated]


def _stock_changed(product: Product, delta: int) -> NewEvent:
    data = {**snapshot(product), "delta": delta, "reason": StockMovement.Reason.ADJUSTMENT.value}
    return NewEvent(EventType.STOCK_CHANGED, product.pk, data)


@transaction.atomic
def delete_product(product_id: int, expected: list[int] | None) -> None:
    """Raises NotFound, PreconditionFailed."""
    write(live_products().filter(pk=product_id), expected, deleted_at=now())
    product = Product.objects.get(pk=product_id)
    append(NewEvent(EventType.PRODUCT_DELETED, product.pk, snapshot(product)))


@transaction.atomic
def adjust_stock(product_id: int, delta: int, reason: str = "", note: str = "") -> StockMovement:
    """Adds or removes pieces by hand. Raises NotFound; Conflict `insufficient_stock` or `stock_limit`."""
    room = live_products().filter(pk=product_id, stock__gte=-delta, stock__lte=MAX_STOCK - max(delta, 0))
    if not room.update(stock=F("stock") + delta, version=F("version") + 1, updated_at=now()):
        raise _no_room(product_id, delta)
    product = Product.objects.get(pk=product_id)
    adjustment = StockMovement.Reason.ADJUSTMENT
    recorded = record_movement(product_id, delta, product.stock, adjustment, reason=reason, note=note)
    append(_stock_changed(product, delta))
    return recorded


@transaction.atomic
def count_stock(product_id: int, stock: int, seen: int, reason: str = "", note: str = "") -> StockMovement | None:
    """Sets the stock to a counted number of pieces, by an adjustment of the difference.

    ``seen`` is the stock that the person had before them. Raises Conflict `stock_changed` if it is another one by now,
    for pieces that were sold since may still be in the count; NotFound. Returns None if there is no difference.
    """
    rows = live_products().filter(pk=product_id).select_for_update(no_key=True)
    present = rows.values_list("stock", flat=True).first()
    if present is None:
        raise NotFound()
    if present != seen:
        raise Conflict(
            f"The stock was {seen} when this page was opened, and is {present} now. Nothing was changed.",
            code="stock_changed",
        )
    return adjust_stock(product_id, stock - present, reason, note) if stock != present else None


def _no_room(product_id: int, delta: int) -> Exception:
    product = live_products().filter(pk=product_id).first()
    if product is None:
        return NotFound()
    if delta > 0:
        return Conflict(f"The stock cannot exceed {MAX_STOCK}.", code="stock_limit")
    shortage = {"field": "delta", "code": "insufficient_stock", "detail": "The stock would fall below zero."}
    return Conflict(
        f"The stock is {product.stock}; {-delta} cannot be taken.",
        code="insufficient_stock",
        errors=[{**shortage, "productId": str(product_id), "requested": -delta, "available": product.stock}],
    )


def record_movement(
    product_id: int, delta: int, stock: int, kind: StockMovement.Reason, *, reason: str = "", note: str = ""
) -> StockMovement:
    recorded = movement(product_id, delta, stock, kind, reason=reason, note=note)
    recorded.save(force_insert=True)
    return recorded


def movement(
    product_id: int, delta: int, stock: int, kind: StockMovement.Reason, *, reason: str = "", note: str = ""
) -> StockMovement:
    """Builds a movement by the present actor without saving it. ``stock`` is the stock after the movement."""
    return StockMovement(
        product_id=product_id, delta=delta, stock=stock, kind=kind, reason=reason, note=note, actor=actor()
    )
