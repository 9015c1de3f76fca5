"""The statements that write products and their stock. Their columns come from the model.

Stock is always changed by a difference, ``stock = p.stock - n``. It is never set to a value computed from an earlier
read: if a distributed Postgres splits a statement over two snapshots, that loses updates.
"""

from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection, connections

from platform_core.db import LOCK_WAITS
from platform_core.events import appending
from platform_core.vocabulary import EventType, ReservationStatus
from product_svc import events
from product_svc.models import Product, StockMovement

WRITTEN = [f for f in Product._meta.concrete_fields if not f.generated and not f.primary_key]
"""The columns of a new product."""


def values_of(product: Product) -> dict[str, Any]:
    """The parameters of `CREATE` for a new product. The values are those that Django would write."""
    database = connections[DEFAULT_DB_ALIAS]  # the proxy `connection` would be resolved several times per field
    return {str(f.column): f.get_db_prep_save(f.pre_save(product, add=True), database) for f in WRITTEN}


CREATE = f"""
    WITH made AS (
        INSERT INTO product_svc_product ({", ".join(f'"{f.column}"' for f in WRITTEN)})
        VALUES ({", ".join(f"%({f.column})s" for f in WRITTEN)})
        RETURNING id, stock
    ), moved AS (
        INSERT INTO product_svc_stockmovement (product_id, delta, stock, kind, reason, actor, created_at)
        SELECT id, stock, stock, '{StockMovement.Reason.INITIAL}', '', %(actor)s, %(created_at)s
        FROM made WHERE stock > 0
    ), recorded AS ({appending(f"SELECT '{EventType.PRODUCT_CREATED}', id::text, %(snapshot)s::jsonb FROM made")})
    SELECT id FROM made
"""
"""Creates a product in one statement. A transaction with the ORM takes eight times the CPU in this process."""

MOVE = "UPDATE product_svc_product SET stock = stock + %(delta)s WHERE id = %(product)s RETURNING id, stock"
"""Changes the stock of a product whose row is locked, as part of another change."""

_REPLACED = [f for f in Product._meta.concrete_fields if f.editable and f.name not in ("id", "stock")]

MERGE = f"""
    UPDATE product_svc_product AS p
    SET {", ".join(f'"{f.column}" = new."{f.column}"' for f in _REPLACED)},
        stock = p.stock + new.stock_delta, version = p.version + 1, updated_at = %(at)s
    FROM jsonb_to_recordset(%(products)s::jsonb) AS new (
        id bigint, stock_delta bigint, {", ".join(f'"{f.column}" {f.db_type(connection)}' for f in _REPLACED)}
    )
    WHERE p.id = new.id
    RETURNING p.id, p.stock
"""
"""Updates products whose rows are locked. ``products`` is a JSON array of `merged` objects."""


def merged(product: Product, delta: int) -> dict[str, Any]:
    """A product in the form that `MERGE` expects: all its fields, and the change of its stock."""
    fields = {str(f.column): f.get_prep_value(getattr(product, f.attname)) for f in _REPLACED}
    return {"id": product.pk, "stock_delta": delta, **fields}


_RESERVATION = StockMovement.Reason.RESERVATION.value

_EVENTS = f"""
    SELECT '{EventType.STOCK_CHANGED}', id::text, jsonb_build_object(
        {events.SQL_MEMBERS}, 'delta', -quantity, 'reason', '{_RESERVATION}', 'orderId', %(order)s::text
    )
    FROM taken ORDER BY id
"""

_NEEDED = dict.fromkeys(("id", "name", "price", "stock", *events.COLUMNS))

RESERVE = f"""
    WITH locked AS (
        SELECT id, stock FROM product_svc_product
        WHERE {LOCK_WAITS} AND id = ANY(%(products)s::bigint[]) AND deleted_at IS NULL
            AND NOT EXISTS (SELECT FROM product_svc_stockreservation WHERE order_id = %(order)s)
        ORDER BY id FOR NO KEY UPDATE
    ), wanted AS (
        SELECT product_id, quantity, n
        FROM unnest(%(products)s::bigint[], %(quantities)s::bigint[]) WITH ORDINALITY AS item (product_id, quantity, n)
    ), claimed AS (
        INSERT INTO product_svc_stockreservation (order_id, status, created_at)
        SELECT %(order)s, '{ReservationStatus.RESERVED}', now()
        WHERE %(count)s = (SELECT count(*) FROM wanted JOIN locked ON id = product_id WHERE stock >= quantity)
        ON CONFLICT DO NOTHING
        RETURNING order_id
    ), taken AS (
        UPDATE product_svc_product AS p
        SET stock = p.stock - w.quantity, version = p.version + 1, updated_at = now()
        FROM claimed, locked l JOIN wanted w ON w.product_id = l.id
        WHERE p.id = l.id
        RETURNING {", ".join(f'p."{column}"' for column in _NEEDED)}, w.quantity
    ), lines AS (
        INSERT INTO product_svc_reservationline (reservation_id, product_id, name, unit_price, quantity)
        SELECT c.order_id, w.product_id, t.name, t.price, w.quantity
        FROM claimed c, wanted w LEFT JOIN taken t ON t.id = w.product_id
        ORDER BY w.n
        RETURNING id, product_id, name, unit_price, quantity
    ), moved AS (
        INSERT INTO product_svc_stockmovement (product_id, delta, stock, kind, reason, actor, order_id, created_at)
        SELECT id, -quantity, stock, '{_RESERVATION}', '', %(actor)s, %(order)s, now() FROM taken ORDER BY id
    ), recorded AS ({appending(_EVENTS)})
    SELECT product_id, name, unit_price, quantity FROM lines ORDER BY id
"""
"""Reserves the stock of an order and returns the lines.

Changes nothing and returns no row if the order already has a reservation, or if a product is missing or short.

The statement is its own transaction, so a popular product is locked only while it runs. To avoid deadlocks, products
are locked first, in id order, and the reservation after them. All other code uses the same order. Waits for these locks
are bounded, so that a row that is held for long does not hold all threads of the service.

Postgres takes a statement's snapshot before it waits for a lock. `locked` returns the row as it is after the wait, and
this row decides whether the stock suffices. The UPDATE also ends with the current row. But first it builds a new row
from the snapshot and tests that one against the CHECK. If the stock rose during the wait, this test may fail although
there is enough. The statement then fails with ``product_stock_not_negative``. The caller must repeat it; the next
snapshot sees the current stock.

A line whose product was not taken has no name. This violates NOT NULL, so the whole statement fails.
"""

LOCK = f"""
    SELECT FROM product_svc_product
    WHERE {LOCK_WAITS} AND id = ANY(%(products)s::bigint[])
    ORDER BY id FOR NO KEY UPDATE
"""
"""Locks products in id order and before the reservation, as all code that changes stock does."""

RELEASE = f"""
    UPDATE product_svc_product SET stock = stock + %(n)s, version = version + 1, updated_at = now()
    WHERE id = %(id)s
    RETURNING id, {", ".join(f'"{column}"' for column in events.COLUMNS)}
"""
"""Returns stock to a product whose row is locked. Returns the columns for its event."""
