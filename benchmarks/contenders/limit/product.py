"""product-service: the catalog, and the feed."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated

import msgspec
from msgspec import Meta
from psycopg.errors import UniqueViolation

from benchmarks.contenders.limit import feed
from benchmarks.contenders.limit.database import execute
from benchmarks.contenders.limit.reservations import DATA, reserve
from benchmarks.contenders.limit.wire import (
    Answer,
    Environ,
    Refused,
    body_of,
    encode,
    id_of,
    limit_of,
    one,
    page,
    query_of,
    served,
    trace_of,
)

_COLUMNS = "id::text, name, description, category, sku, price, stock, created_at, updated_at"
_ONE = f"SELECT version, {_COLUMNS} FROM product_svc_product WHERE id = %(id)s AND deleted_at IS NULL"
_FILTERS = {"category": "category = %(category)s", "minPrice": "price >= %(minPrice)s", "before": "id < %(before)s"}
_CREATE = f"""
    WITH made AS (
        INSERT INTO product_svc_product
            (name, description, category, sku, price, stock, version, created_at, updated_at)
        VALUES (%(name)s, %(description)s, %(category)s, NULLIF(%(sku)s, ''), %(price)s, %(stock)s, 1, now(), now())
        RETURNING *
    ), movement AS (
        INSERT INTO product_svc_stockmovement (product_id, delta, kind, reason, stock, created_at)
        SELECT id, stock, 'initial', '', stock, now() FROM made WHERE stock > 0
    ), event AS (
        INSERT INTO events_event ({feed.COLUMNS})
        SELECT {feed.PLACE}, 'product.created', id::text, {DATA}, clock_timestamp(), %(request_id)s, %(traceparent)s
        FROM made
    )
    SELECT {_COLUMNS} FROM made
"""


class Product(msgspec.Struct, rename="camel"):
    id: str
    name: str
    description: str
    category: str
    sku: str | None
    price: Decimal
    stock: int
    created_at: datetime
    updated_at: datetime


class NewProduct(msgspec.Struct, rename="camel"):
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    price: Decimal
    stock: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    description: Annotated[str, Meta(max_length=5000)] = ""
    category: Annotated[str, Meta(max_length=100)] = ""
    sku: Annotated[str, Meta(max_length=64)] | None = None


_new_product = msgspec.json.Decoder(NewProduct).decode


def retrieve(environ: Environ, name: str) -> Answer:
    return one(environ, execute(_ONE, {"id": id_of(name)}).fetchone(), Product)


def find(environ: Environ, name: str) -> Answer:
    query = query_of(environ)
    limit = limit_of(query)
    values = {"limit": limit + 1, "category": query.get("category")}
    values |= {"minPrice": Decimal(query.get("minPrice", 0)), "before": int(query.get("before", 0))}
    conditions = ["deleted_at IS NULL", *(text for name, text in _FILTERS.items() if name in query)]
    statement = f"""
        SELECT {_COLUMNS} FROM product_svc_product WHERE {" AND ".join(conditions)}
        ORDER BY product_svc_product.id DESC LIMIT %(limit)s
    """
    rows = [Product(*row) for row in execute(statement, values)]
    return page(environ, query, limit, rows)


def create(environ: Environ, name: str) -> Answer:
    new = _new_product(body_of(environ))
    if not (new.price.is_finite() and new.price >= 0 and new.price == round(new.price, 2)):
        raise ValueError("price: expected an amount with at most two decimals.")
    try:
        row = execute(_CREATE, {**msgspec.structs.asdict(new), **trace_of(environ)}).fetchone()
    except UniqueViolation:
        raise Refused(409, "sku_taken") from None
    assert row is not None
    product = Product(*row)
    return Answer(201, encode(product), (("Location", f"/api/products/{product.id}"), ("ETag", '"1"')))


application = served(
    {
        "GET /api/products": find,
        "POST /api/products": create,
        "GET /api/products/*": retrieve,
        "PUT /api/stock-reservations/*": reserve,
        "GET /api/events": feed.feed_of("product"),
    }
)
