"""Reserves the stock of an order: claim, conditional updates, lines, movements and events in one statement."""

from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from psycopg.errors import NotNullViolation

from benchmarks.contenders.limit import feed
from benchmarks.contenders.limit.database import execute
from benchmarks.contenders.limit.wire import Answer, Environ, Refused, body_of, encode, id_of, trace_of

DATA = """jsonb_build_object(
    'version', version, 'name', name, 'category', category, 'price', price, 'stock', stock,
    'createdAt', to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
)"""

# If a product cannot be taken, its line has no name, and NOT NULL makes the statement fail. No row is returned
# if the order already has a reservation.
_RESERVE = """
    WITH wanted AS (
        SELECT * FROM unnest(%(ids)s::bigint[], %(numbers)s::bigint[]) WITH ORDINALITY AS w (id, n, place)
    ), claim AS (
        INSERT INTO product_svc_stockreservation (order_id, status, created_at)
        VALUES (%(order_id)s, 'reserved', now())
        ON CONFLICT DO NOTHING RETURNING order_id
    ), {locked} taken AS (
        UPDATE product_svc_product AS p SET stock = stock - w.n, version = version + 1, updated_at = now()
        FROM {source}
        WHERE p.id = w.id AND p.stock >= w.n AND p.deleted_at IS NULL
        RETURNING p.id, w.n, w.place, p.name, p.category, p.price, p.stock, p.version, p.created_at
    ), line AS (
        INSERT INTO product_svc_reservationline (reservation_id, product_id, name, unit_price, quantity)
        SELECT claim.order_id, wanted.id, taken.name, taken.price, wanted.n
        FROM claim CROSS JOIN wanted LEFT JOIN taken USING (id) ORDER BY wanted.place
    ), movement AS (
        INSERT INTO product_svc_stockmovement (product_id, delta, stock, kind, reason, order_id, created_at)
        SELECT id, -n, stock, 'reservation', '', %(order_id)s, now() FROM taken ORDER BY id
    ), event AS (
        INSERT INTO events_event ({columns})
        SELECT {place}, 'stock.changed', id::text,
            {data} || jsonb_build_object('delta', -n, 'reason', 'reservation', 'orderId', %(order_id)s::bigint::text),
            clock_timestamp(), %(request_id)s, %(traceparent)s
        FROM taken ORDER BY id
    )
    SELECT id::text, name, price, n FROM taken ORDER BY place
"""
# Several products are locked in id order first, so that two orders cannot deadlock.
_LOCKED = """locked AS MATERIALIZED (
        SELECT p.id FROM claim, product_svc_product p WHERE p.id = ANY (%(ids)s::bigint[])
        ORDER BY p.id FOR NO KEY UPDATE OF p
    ),"""
_PARTS = {"columns": feed.COLUMNS, "place": feed.PLACE, "data": DATA}
_RESERVE_ONE = _RESERVE.format(locked="", source="claim, wanted AS w", **_PARTS)
_RESERVE_MANY = _RESERVE.format(locked=_LOCKED, source="locked JOIN wanted AS w USING (id)", **_PARTS)

_BEFORE = """
    SELECT l.product_id::text, l.name, l.unit_price, l.quantity, r.status FROM product_svc_stockreservation r
    LEFT JOIN product_svc_reservationline l ON l.reservation_id = r.order_id WHERE r.order_id = %(order_id)s
    ORDER BY l.id
"""
_STOCKS = "SELECT id, stock FROM product_svc_product WHERE id = ANY (%(ids)s::bigint[]) AND deleted_at IS NULL"


class WantedItem(msgspec.Struct, rename="camel"):
    product_id: int | str
    quantity: Annotated[int, Meta(ge=1, le=100_000_000)]


class Wanted(msgspec.Struct):
    items: Annotated[list[WantedItem], Meta(min_length=1, max_length=100)]


class Item(msgspec.Struct, rename="camel"):
    product_id: str
    name: str
    unit_price: Decimal
    quantity: int


class Reservation(msgspec.Struct, rename="camel"):
    order_id: str
    status: str
    items: list[Item]


_wanted = msgspec.json.Decoder(Wanted).decode


def reserve(environ: Environ, name: str) -> Answer:
    order_id = id_of(name)
    quantities: dict[int, int] = {}
    for item in _wanted(body_of(environ)).items:
        quantities[int(item.product_id)] = quantities.get(int(item.product_id), 0) + item.quantity
    values = {"order_id": order_id, "ids": list(quantities), "numbers": list(quantities.values())}
    rows = _taken({**values, **trace_of(environ)}, quantities)
    if rows:
        return _answer(201, order_id, rows)
    return _answer(200, order_id, _reserved_before(order_id, quantities))


def _taken(values: dict[str, Any], quantities: dict[int, int]) -> list[tuple[Any, ...]]:
    """Reserves the stock. Empty if the order already has a reservation. Raises Refused."""
    while True:
        try:
            return execute(_RESERVE_ONE if len(quantities) == 1 else _RESERVE_MANY, values).fetchall()
        except NotNullViolation:
            _refuse(quantities)
            # The missing stock has been added in the meantime: try again.


def _refuse(quantities: dict[int, int]) -> None:
    stocks = dict(execute(_STOCKS, {"ids": list(quantities)}).fetchall())
    unknown, short = [], []
    for number, (product_id, quantity) in enumerate(quantities.items()):
        error = {"field": f"items[{number}]", "productId": str(product_id)}
        if product_id not in stocks:
            unknown.append({**error, "code": "unknown_product", "detail": f"There is no product {product_id}."})
        elif stocks[product_id] < quantity:
            error |= {"code": "insufficient_stock", "detail": f"{quantity} wanted, {stocks[product_id]} in stock."}
            short.append({**error, "requested": quantity, "available": stocks[product_id]})
    if unknown:
        raise Refused(422, "unknown_product", "A product does not exist.", unknown)
    if short:
        raise Refused(409, "insufficient_stock", "There is not enough stock.", short)


def _reserved_before(order_id: int, quantities: dict[int, int]) -> list[tuple[Any, ...]]:
    rows = execute(_BEFORE, {"order_id": order_id}).fetchall()
    if rows[0][4] == "released":
        raise Refused(409, "reservation_released")
    if {int(row[0]): row[3] for row in rows} != quantities:
        raise Refused(409, "reservation_conflict")
    return [row[:4] for row in rows]


def _answer(status: int, order_id: int, rows: list[tuple[Any, ...]]) -> Answer:
    return Answer(status, encode(Reservation(str(order_id), "reserved", [Item(*row) for row in rows])))
