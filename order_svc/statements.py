"""The two statements that place an order.

Each statement is its own transaction, so it needs one round trip and holds its locks no longer than that. An order has
one line per product, so the product id identifies the line.
"""

from platform_core.events import appending
from platform_core.outbox import enqueueing
from platform_core.vocabulary import OPEN_ORDER, EventType, OrderStatus, sql_list

OPEN = f"""
    WITH opened AS (
        INSERT INTO order_svc_order (
            user_id, status, currency, reason, steps, caller, idempotency_key, fingerprint,
            request_id, traceparent, created_at, updated_at, version
        )
        SELECT %(user_id)s, '{OrderStatus.PENDING}', %(currency)s, '', %(steps)s::jsonb, %(caller)s, %(key)s::text,
               %(fingerprint)s, %(request_id)s, %(traceparent)s, now(), now(), 1
        WHERE %(key)s::text IS NULL OR pg_try_advisory_xact_lock(hashtextextended(%(lock)s, 0))
        ON CONFLICT (caller, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
        RETURNING id, created_at
    ), lines AS (
        INSERT INTO order_svc_orderline (order_id, product_id, quantity)
        SELECT opened.id, line.product_id, line.quantity
        FROM opened, unnest(%(products)s::bigint[], %(quantities)s::int[]) WITH ORDINALITY
             AS line (product_id, quantity, n)
        ORDER BY line.n
    )
    SELECT id, created_at FROM opened
"""
"""Inserts the pending order and its lines. Returns its id and the time, which is Postgres'.

Returns no row if the caller has an order with this key, or if a concurrent request is just creating one.
"""

TAKE_TURNS = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
"""Waits until no other transaction holds the lock with this name."""

COUNT_OPEN = f"""
    SELECT count(*) FROM (
        SELECT 1 FROM order_svc_order
        WHERE user_id = %s AND status IN {sql_list(OPEN_ORDER)}
        LIMIT %s
    ) AS open
"""
"""How many orders of a user are open, counted up to a number. A statement of its own: its snapshot follows the lock."""

CONFIRM = f"""
    WITH confirmed AS (
        UPDATE order_svc_order
        SET status = '{OrderStatus.CONFIRMED}', version = version + 1, updated_at = %(at)s, confirmed_at = %(at)s,
            total = %(total)s, steps = %(steps)s::jsonb,
            customer_name = %(name)s, customer_email = %(email)s, customer_address = %(address)s
        WHERE id = %(order)s AND status = '{OrderStatus.PENDING}'
        RETURNING id
    ), priced AS (
        UPDATE order_svc_orderline AS line
        SET name = priced.name, unit_price = priced.unit_price, subtotal = priced.unit_price * line.quantity
        FROM confirmed, unnest(%(products)s::bigint[], %(names)s::text[], %(prices)s::numeric[])
             AS priced (product_id, name, unit_price)
        WHERE line.order_id = %(order)s AND line.product_id = priced.product_id
    ), recorded AS ({
    appending(f"SELECT '{EventType.ORDER_CONFIRMED}', id::text, %(snapshot)s::jsonb FROM confirmed")
}), queued AS ({
    enqueueing("SELECT %(kind)s, %(destination)s, %(aggregate)s, %(message_key)s, %(payload)s::jsonb FROM confirmed")
})
    SELECT id FROM confirmed
"""
"""Confirms a pending order. If it is not pending any more, changes nothing and returns no row.

This decides the race with recovery.
"""

QUEUE_AGAIN = f"""
    {enqueueing("SELECT %(kind)s, %(destination)s, %(aggregate)s, %(message_key)s, %(payload)s::jsonb")}
    ON CONFLICT (key) DO UPDATE SET
        state = 'pending', attempts = 0, available_at = clock_timestamp(), delivered_at = NULL, last_error = '',
        lease = NULL, leased_until = NULL
"""
"""Queues a message that may be sent any number of times. If it was queued before, it is sent again."""

EARLIER_COLUMNS = (
    *("id", "user_id", "status", "currency", "total", "reason", "created_at", "confirmed_at"),
    *("customer_name", "customer_email", "customer_address"),
)
EARLIER = f"""
    SELECT {", ".join(EARLIER_COLUMNS)}, fingerprint, refusal::text
    FROM order_svc_order WHERE caller = %s AND idempotency_key = %s
"""
