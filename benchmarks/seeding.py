"""Fills the databases by SQL before the first request, with the tables of a year of orders.

Rows are numbered from 1 and computed from their numbers, so all runs have the same content except for dates.
"""

from dataclasses import dataclass

import psycopg

CATEGORIES = 20
STOCK = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Size:
    """The numbers of rows. Every order is confirmed and has one line."""

    users: int
    products: int
    orders: int


def seed(url: str, size: Size) -> None:
    """Fills the migrated, empty tables of the database at ``url`` as superuser."""
    values = {"users": size.users, "products": size.products, "orders": size.orders}
    values |= {"categories": CATEGORIES, "stock": STOCK}
    with psycopg.connect(url, cursor_factory=psycopg.ClientCursor, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET maintenance_work_mem = '256MB'")
        connection.execute("SET work_mem = '128MB'")
        for statement in (_SOURCES, _USERS, _PRODUCTS, _ORDERS, _RESERVATIONS, _NOTIFICATIONS, _READ_MODELS, _FEEDS):
            connection.execute(statement, values)
        connection.execute(_SEQUENCES)
        connection.execute("VACUUM (FREEZE, ANALYZE)")
        connection.execute("CHECKPOINT")


# Multiples of large primes spread users and products evenly over the orders.
_SOURCES = """
CREATE TEMP TABLE product AS
SELECT n AS id, 'Product ' || n AS name, 'category-' || n %% %(categories)s AS category,
       (100 + n * 7919 %% 49900)::numeric(12, 2) / 100 AS price, now() - interval '400 days' AS at
FROM generate_series(1, %(products)s::bigint) AS n;
UPDATE product SET price = round(price, 2);

CREATE TEMP TABLE sale AS
SELECT n AS id, 1 + n * 31 %% %(users)s AS user_id, p.id AS product_id, p.name, p.price, 1 + n %% 3 AS quantity,
       p.price * (1 + n %% 3) AS total,
       now() - interval '5 minutes' - interval '365 days' * (1 - n / %(orders)s::float8) AS at
FROM generate_series(1, %(orders)s::bigint) AS n JOIN product p ON p.id = 1 + n * 7919 %% %(products)s
ORDER BY n;

CREATE TEMP TABLE sold AS
SELECT product_id, count(*) AS orders, sum(quantity)::bigint AS units, sum(total) AS revenue FROM sale GROUP BY 1;
ANALYZE product; ANALYZE sale; ANALYZE sold;
"""

_USERS = """
INSERT INTO user_svc.user_svc_user
    (id, created_at, updated_at, version, name, email, email_key, phone, address, password, is_active)
SELECT n, at, at, 1, 'User ' || n, 'user' || n || '@example.com', 'user' || n || '@example.com', '', '', '', true
FROM generate_series(1, %(users)s::bigint) AS n, (SELECT now() - interval '400 days') AS made (at);
"""

# A product's stock is the sum of its movements, here too.
_PRODUCTS = """
INSERT INTO product_svc.product_svc_product
    (id, created_at, updated_at, version, name, description, category, price, stock)
SELECT id, at, at, 1 + coalesce(orders, 0), name, 'Made for the benchmark, number ' || id, category, price, %(stock)s
FROM product LEFT JOIN sold ON product_id = id ORDER BY id;

INSERT INTO product_svc.product_svc_stockmovement (product_id, delta, kind, reason, stock, created_at)
SELECT id, %(stock)s + coalesce(units, 0), 'initial', '', %(stock)s + coalesce(units, 0), at
FROM product LEFT JOIN sold ON product_id = id ORDER BY id;
"""

_ORDERS = """
INSERT INTO order_svc.order_svc_order
    (id, created_at, updated_at, version, user_id, status, total, currency, reason, confirmed_at, caller,
     idempotency_key, fingerprint, request_id, traceparent)
SELECT id, at, at, 2, user_id, 'confirmed', total, 'EUR', '', at, 'seed', 'seed-' || id, '\\x00', md5(id::text), ''
FROM sale ORDER BY id;

INSERT INTO order_svc.order_svc_orderline (order_id, product_id, quantity, name, unit_price, subtotal)
SELECT id, product_id, quantity, name, price, total FROM sale ORDER BY id;
"""

_RESERVATIONS = """
INSERT INTO product_svc.product_svc_stockreservation (order_id, status, created_at)
SELECT id, 'reserved', at FROM sale ORDER BY id;

INSERT INTO product_svc.product_svc_reservationline (reservation_id, product_id, name, unit_price, quantity)
SELECT id, product_id, name, price, quantity FROM sale ORDER BY id;

INSERT INTO product_svc.product_svc_stockmovement (product_id, delta, kind, reason, order_id, stock, created_at)
SELECT s.product_id, -quantity, 'reservation', '', id,
       %(stock)s + units - sum(quantity) OVER (PARTITION BY s.product_id ORDER BY id), at
FROM sale s JOIN sold ON sold.product_id = s.product_id ORDER BY id;
"""

_NOTIFICATIONS = """
INSERT INTO notification_svc.notification_svc_notification
    (id, created_at, updated_at, version, user_id, type, channel, recipient, subject, message, status, attempts,
     sent_at, caller, sender_key, fingerprint)
SELECT id, at, at, 2, user_id, 'order_confirmed', 'email', 'user' || user_id || '@example.com',
       'Order ' || id || ' is confirmed', 'Thank you.', 'sent', 1, at, 'seed', 'order-' || id || '-confirmed', '\\x00'
FROM sale ORDER BY id;
"""

# Amounts are stored as texts, as in analytics-service.
_READ_MODELS = """
INSERT INTO analytics_svc.analytics_svc_fact (generation, kind, resource_id, version, state)
SELECT 1, 'user', id, 1, jsonb_build_object('version', 1, 'createdAt', created_at, 'deleted', false)
FROM user_svc.user_svc_user ORDER BY id;

INSERT INTO analytics_svc.analytics_svc_fact (generation, kind, resource_id, version, state)
SELECT 1, 'product', id, version, jsonb_build_object('version', version, 'createdAt', created_at, 'deleted', false,
    'name', name, 'price', price::text, 'stock', stock)
FROM product_svc.product_svc_product ORDER BY id;

INSERT INTO analytics_svc.analytics_svc_fact (generation, kind, resource_id, version, state)
SELECT 1, 'order', id, 2, jsonb_build_object('version', 2, 'createdAt', at, 'deleted', false, 'status', 'confirmed',
    'total', total::text, 'items', jsonb_build_array(
        jsonb_build_object('productId', product_id::text, 'quantity', quantity, 'subtotal', total::text)))
FROM sale ORDER BY id;

INSERT INTO analytics_svc.analytics_svc_fact (generation, kind, resource_id, version, state)
SELECT 1, 'notification', id, 2, jsonb_build_object('version', 2, 'createdAt', at, 'deleted', false, 'status', 'sent')
FROM sale ORDER BY id;

INSERT INTO analytics_svc.analytics_svc_figure (generation, name, value)
SELECT 1, f.name, f.value FROM (SELECT count(*) AS orders, sum(total) AS revenue FROM sale) AS o,
    (SELECT count(*) * %(stock)s::numeric AS units, sum(price) * %(stock)s AS worth FROM product) AS p,
    LATERAL (VALUES
        ('users.total', %(users)s), ('products.total', %(products)s), ('products.outOfStock', 0),
        ('products.stockUnits', p.units), ('products.stockValue', p.worth),
        ('orders.total', o.orders), ('orders.status.confirmed', o.orders), ('orders.paid', o.orders),
        ('orders.revenue', o.revenue),
        ('notifications.total', o.orders), ('notifications.status.sent', o.orders)
    ) AS f (name, value);

INSERT INTO analytics_svc.analytics_svc_dailyfigure (generation, name, date, value)
SELECT 1, 'users.new', created_at::date, count(*) FROM user_svc.user_svc_user GROUP BY 3;

INSERT INTO analytics_svc.analytics_svc_dailyfigure (generation, name, date, value)
SELECT 1, f.name, day, f.value
FROM (SELECT (at AT TIME ZONE 'UTC')::date AS day, count(*) AS orders, sum(total) AS revenue FROM sale GROUP BY 1) AS d,
    LATERAL (VALUES ('orders.placed', orders), ('orders.revenue', revenue), ('notifications.sent', orders))
        AS f (name, value);

INSERT INTO analytics_svc.analytics_svc_productfigure (generation, product_id, name, stock, listed, units, revenue)
SELECT 1, id, name, %(stock)s, true, coalesce(units, 0), coalesce(revenue, 0)
FROM product LEFT JOIN sold ON product_id = id ORDER BY id;
"""

# Feeds keep thirty days, and analytics-service has applied all events.
_FEEDS = """
CREATE TEMP VIEW recent AS SELECT * FROM sale WHERE at > now() - interval '30 days' ORDER BY id;

INSERT INTO order_svc.events_event (epoch, txid, type, subject, data, time, request_id, traceparent)
SELECT 1, pg_current_xact_id()::text::bigint, 'order.confirmed', id::text, jsonb_build_object('version', 2,
    'userId', user_id::text, 'status', 'confirmed', 'total', total, 'currency', 'EUR', 'createdAt', at,
    'items', jsonb_build_array(jsonb_build_object('productId', product_id::text, 'name', name,
        'quantity', quantity, 'unitPrice', price, 'subtotal', total))), at, md5(id::text), '' FROM recent;

INSERT INTO product_svc.events_event (epoch, txid, type, subject, data, time, request_id, traceparent)
SELECT 1, pg_current_xact_id()::text::bigint, 'stock.changed', r.product_id::text, jsonb_build_object(
    'version', 1 + orders, 'name', r.name, 'price', r.price, 'stock', %(stock)s, 'createdAt', p.at), r.at,
    md5(r.id::text), '' FROM recent r JOIN product p ON p.id = product_id JOIN sold ON sold.product_id = p.id;

INSERT INTO notification_svc.events_event (epoch, txid, type, subject, data, time, request_id, traceparent)
SELECT 1, pg_current_xact_id()::text::bigint, 'notification.sent', id::text, jsonb_build_object('version', 2,
    'userId', user_id::text, 'status', 'sent', 'createdAt', at), at, md5(id::text), '' FROM recent;

INSERT INTO analytics_svc.analytics_svc_feedposition (service, generation, live, last_event_id, caught_up_at)
SELECT f.service, 1, true, coalesce(f.position, ''), now() FROM (VALUES
    ('user-service', ''),
    ('product-service', (SELECT concat_ws('-', epoch, txid, id) FROM product_svc.events_event
        ORDER BY id DESC LIMIT 1)),
    ('order-service', (SELECT concat_ws('-', epoch, txid, id) FROM order_svc.events_event ORDER BY id DESC LIMIT 1)),
    ('notification-service', (SELECT concat_ws('-', epoch, txid, id) FROM notification_svc.events_event
        ORDER BY id DESC LIMIT 1))
) AS f (service, position);
"""

_SEQUENCES = """
SELECT setval(pg_get_serial_sequence(format('%I.%I', schema, name), 'id'), made) FROM (
    SELECT 'user_svc' AS schema, 'user_svc_user' AS name, max(id) AS made FROM user_svc.user_svc_user
    UNION ALL SELECT 'product_svc', 'product_svc_product', max(id) FROM product_svc.product_svc_product
    UNION ALL SELECT 'order_svc', 'order_svc_order', max(id) FROM order_svc.order_svc_order
    UNION ALL SELECT 'notification_svc', 'notification_svc_notification', max(id)
        FROM notification_svc.notification_svc_notification
) AS tables;
"""
