"""What is written most: a new product, and the stock that an order takes."""

from platform_core.events.log import appending
from product_svc.models import StockMovement

CREATE = f"""
    WITH made AS (
        INSERT INTO product_svc_product
            (name, description, category, sku, price, stock, created_at, updated_at, version)
        VALUES (
            %(name)s, %(description)s, %(category)s, %(sku)s, %(price)s, %(stock)s, %(created_at)s, %(created_at)s, 1
        )
        RETURNING id, stock
    ), moved AS (
        INSERT INTO product_svc_stockmovement (product_id, delta, stock, kind, reason, created_at)
        SELECT id, stock, stock, '{StockMovement.Reason.INITIAL}', '', %(created_at)s FROM made WHERE stock > 0
    ), told AS ({appending("SELECT 'product.created', id::text, %(snapshot)s::jsonb FROM made")})
    SELECT id FROM made
"""

_RESERVATION = StockMovement.Reason.RESERVATION.value

_EVENTS = f"""
    SELECT 'stock.changed', id::text, jsonb_build_object(
        'version', version, 'name', name, 'category', category, 'price', price, 'stock', stock,
        'createdAt', to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'delta', -quantity, 'reason', '{_RESERVATION}', 'orderId', %(order)s::text
    )
    FROM taken ORDER BY id
"""

RESERVE = f"""
    WITH locked AS (
        SELECT id, stock FROM product_svc_product
        WHERE id = ANY(%(products)s::bigint[]) AND deleted_at IS NULL
            AND NOT EXISTS (SELECT FROM product_svc_stockreservation WHERE order_id = %(order)s)
        ORDER BY id FOR NO KEY UPDATE
    ), wanted AS (
        SELECT product_id, quantity, n
        FROM unnest(%(products)s::bigint[], %(quantities)s::bigint[]) WITH ORDINALITY AS item (product_id, quantity, n)
    ), claimed AS (
        INSERT INTO product_svc_stockreservation (order_id, status, created_at)
        SELECT %(order)s, 'reserved', now()
        WHERE %(count)s = (SELECT count(*) FROM wanted JOIN locked ON id = product_id WHERE stock >= quantity)
        ON CONFLICT DO NOTHING
        RETURNING order_id
    ), taken AS (
        UPDATE product_svc_product AS p
        SET stock = l.stock - w.quantity, version = p.version + 1, updated_at = now()
        FROM claimed, locked l JOIN wanted w ON w.product_id = l.id
        WHERE p.id = l.id
        RETURNING p.id, p.name, p.category, p.price, p.stock, p.version, p.created_at, w.quantity
    ), lines AS (
        INSERT INTO product_svc_reservationline (reservation_id, product_id, name, unit_price, quantity)
        SELECT c.order_id, w.product_id, t.name, t.price, w.quantity
        FROM claimed c, wanted w LEFT JOIN taken t ON t.id = w.product_id
        ORDER BY w.n
        RETURNING id, product_id, name, unit_price, quantity
    ), moved AS (
        INSERT INTO product_svc_stockmovement (product_id, delta, stock, kind, reason, order_id, created_at)
        SELECT id, -quantity, stock, '{_RESERVATION}', '', %(order)s, now() FROM taken ORDER BY id
    ), told AS ({appending(_EVENTS)})
    SELECT product_id, name, unit_price, quantity FROM lines ORDER BY id
"""
"""The lines. None, and nothing is changed, when the order has a reservation already or a product cannot be had.

It is a transaction by itself, so a product that many want at once is locked for no longer than it runs. Products are
locked first, in id order, and the reservation after them, as everywhere, so that nobody waits for each other.

What is locked is what is counted and taken: a row that somebody has just changed is locked, and read, as it is now,
where the rest of the statement would find it as it was before the wait. The UPDATE follows it to its present version,
but has made a row of the old one by then, and held that against the constraints: a stock taken from ``p`` would be
refused for what there was before.

A line whose product was not taken would have no name: that breaks NOT NULL, and with it the whole statement.
"""
