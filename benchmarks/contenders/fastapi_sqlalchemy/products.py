"""product-service: the catalog."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import Field
from sqlalchemy import bindparam, func, insert, select
from sqlalchemy.exc import IntegrityError

from benchmarks.contenders.fastapi_sqlalchemy import reservations
from benchmarks.contenders.fastapi_sqlalchemy.database import Reading, Writing
from benchmarks.contenders.fastapi_sqlalchemy.events import append, event
from benchmarks.contenders.fastapi_sqlalchemy.problems import Problem, not_found
from benchmarks.contenders.fastapi_sqlalchemy.product_models import event_data, movement, products, record
from benchmarks.contenders.fastapi_sqlalchemy.service import create_app
from benchmarks.contenders.fastapi_sqlalchemy.wire import (
    Answer,
    IdInPath,
    Money,
    Page,
    PageQuery,
    Received,
    columns,
    page,
)

router = APIRouter(prefix="/api")


class ProductBody(Received):
    name: str = Field(min_length=1, max_length=200)
    description: str = Field("", max_length=5000)
    category: str = Field("", max_length=100)
    sku: str | None = Field(None, max_length=64)
    price: Money
    stock: int = Field(0, ge=0, le=2**31 - 1)


class ProductAnswer(Answer):
    id: str
    name: str
    description: str
    category: str
    sku: str | None
    price: float
    stock: int
    created_at: datetime
    updated_at: datetime


_PRODUCTS = select(*columns(products, ProductAnswer)).where(products.c.deleted_at.is_(None))
_PRODUCT = _PRODUCTS.add_columns(products.c.version).where(products.c.id == bindparam("product_id"))
_CREATE = insert(products).returning(*products.c)


class ProductQuery(PageQuery):
    category: str | None = None
    min_price: Money | None = None
    max_price: Money | None = None


class ProductStats(Answer):
    total: int
    out_of_stock: int
    stock_units: int
    stock_value: float


@router.get("/products/{product_id}", response_model=ProductAnswer)
async def get_product(
    product_id: IdInPath,
    session: Reading,
    response: Response,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Any:
    product = (await session.execute(_PRODUCT, {"product_id": product_id})).one_or_none()
    if product is None:
        raise not_found()
    etag = f'"{product.version}"'
    if if_none_match == etag:
        return Response(status_code=304, headers={"ETag": etag})
    response.headers["ETag"] = etag
    return product


@router.get("/products", response_model=Page[ProductAnswer])
async def list_products(query: Annotated[ProductQuery, Query()], session: Reading, request: Request) -> Any:
    found = _PRODUCTS
    if query.category is not None:
        found = found.where(products.c.category == query.category)
    if query.min_price is not None:
        found = found.where(products.c.price >= query.min_price)
    if query.max_price is not None:
        found = found.where(products.c.price <= query.max_price)
    found = found.order_by(products.c.id.desc()).limit(query.limit + 1).offset(query.offset)
    return page(request, (await session.execute(found)).all(), query)


@router.post("/products", status_code=201, response_model=ProductAnswer)
async def create_product(body: ProductBody, session: Writing, response: Response) -> Any:
    try:
        async with session.begin():
            product = (await session.execute(_CREATE, body.model_dump())).one()
            if product.stock:
                await record(session, movement(product.id, product.stock, product.stock, "initial"))
            await append(session, event("product.created", product.id, event_data(product)))
    except IntegrityError as error:
        raise Problem(409, "sku_taken", "Another product has this sku.") from error
    response.headers["Location"] = f"/api/products/{product.id}"
    response.headers["ETag"] = f'"{product.version}"'
    return product


@router.get("/stats", response_model=ProductStats)
async def get_stats(session: Reading) -> Any:
    figures = await session.execute(
        select(
            func.count().label("total"),
            func.count().filter(products.c.stock == 0).label("out_of_stock"),
            func.coalesce(func.sum(products.c.stock), 0).label("stock_units"),
            func.coalesce(func.sum(products.c.stock * products.c.price), 0).label("stock_value"),
        ).where(products.c.deleted_at.is_(None))
    )
    return figures.one()


app = create_app("product-service", router, reservations.router)
