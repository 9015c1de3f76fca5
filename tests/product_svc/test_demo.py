"""The demo's bulk path keeps stock and movements consistent, as the use cases do."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_core.events.models import Event
from platform_core.tools.demo_data import Batch, Spec, raw
from product_svc import demo, reservations
from product_svc.models import Product, ReservationLine, StockMovement, StockReservation

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 6, 17, 12, tzinfo=UTC)
SPEC = Spec(seed=7, users=1, products=20, orders=10**6, now=NOW)

pieces = st.dictionaries(st.integers(0, 3), st.integers(1, 60), min_size=1, max_size=3)
order = st.tuples(pieces, st.booleans(), st.integers(0, 500))


@pytest.fixture
def catalog() -> list[dict[str, Any]]:
    """The product as it is passed to order-service."""
    return [msgspec.json.decode(row) for batch in demo.products(SPEC, iter(())) for row in batch.rows]


def rejected(order_id: int, catalog: list[dict[str, Any]]) -> Any:
    refused = msgspec.json.decode(sale(order_id, catalog, {0: 1}, False, 0))
    refused["steps"][0]["status"] = "rejected"
    return raw(refused)


def sale(order_id: int, catalog: list[dict[str, Any]], wanted: dict[int, int], cancelled: bool, hour: int) -> Any:
    at = NOW - timedelta(days=30) + timedelta(hours=hour)
    items = [
        {"productId": catalog[n]["id"], "name": catalog[n]["name"], "unitPrice": catalog[n]["price"], "quantity": q}
        for n, q in wanted.items()
    ]
    later = [{"status": "cancelled", "at": at + timedelta(hours=5)}] if cancelled else []
    return raw({"id": order_id, "steps": [{"status": "confirmed", "at": at}, *later], "items": items})


def reserve(*rows: Any) -> list[int]:
    """The ids of the orders whose stock was reserved."""
    (batch,) = demo.reserve(SPEC, iter([Batch("orders", len(rows), list(rows))]))
    return [msgspec.json.decode(row)["id"] for row in batch.rows]


def assert_books_are_right() -> None:
    for product in Product.objects.all():
        stock = 0
        for movement in StockMovement.objects.filter(product=product).order_by("id"):
            stock += movement.delta
            assert movement.stock == stock >= 0
        assert product.stock == stock
        events = list(Event.objects.filter(subject=str(product.pk)).order_by("id"))
        assert [event.data["version"] for event in events] == list(range(1, product.version + 1))
        assert events[-1].data["stock"] == stock
    for reservation in StockReservation.objects.all():
        held = sum(line.quantity for line in reservation.lines.all()) if reservation.status == "reserved" else 0
        moved = StockMovement.objects.filter(order_id=reservation.pk).values_list("delta", flat=True)
        assert sum(moved) == -held


@settings(max_examples=settings().max_examples // 2)
@given(st.lists(order, min_size=1, max_size=12))
def test_no_order_of_operations_makes_stock_negative_or_loses_a_movement(orders):
    Event.objects.all().delete()
    for model in (ReservationLine, StockReservation, StockMovement, Product):
        model.objects.all().delete()
    catalog = [msgspec.json.decode(row) for batch in demo.products(SPEC, iter(())) for row in batch.rows]
    rows = [sale(number, catalog, *each) for number, each in enumerate(orders, start=1)]
    half = len(rows) // 2
    reserve(*rows[:half])
    assert reserve(*rows[half:]) == list(range(half + 1, len(rows) + 1))
    assert_books_are_right()


def test_a_demo_reservation_leaves_the_same_rows_as_a_real_one(catalog):
    reserve(sale(1, catalog, {0: 2, 1: 1}, True, 0))
    reservations.reserve(2, [(catalog[0]["id"], 2), (catalog[1]["id"], 1)])
    reservations.release(2)
    events = {
        number: [
            (event.type, event.subject, event.data.keys(), event.data["delta"], event.data["reason"])
            for event in Event.objects.filter(data__orderId=str(number)).order_by("id")
        ]
        for number in (1, 2)
    }
    assert events[1] == events[2]
    lines = ReservationLine.objects.order_by("id").values_list("product_id", "name", "unit_price", "quantity")
    assert list(lines[:2]) == list(lines[2:])
    moved = StockMovement.objects.exclude(order_id=None).order_by("id").values_list("product_id", "delta", "kind")
    assert list(moved[:4]) == list(moved[4:])


def test_a_rejected_demo_order_takes_no_stock_and_leaves_a_tombstone(catalog):
    assert reserve(rejected(1, catalog)) == [1]
    reservations.release(2)
    demo_row, real_row = StockReservation.objects.order_by("pk").values_list("status", "released_at")
    assert demo_row == real_row
    assert not ReservationLine.objects.exists()
    assert not StockMovement.objects.exclude(order_id=None).exists()
    assert_books_are_right()


def test_an_order_whose_id_has_a_tombstone_or_whose_product_is_gone_is_left_out(catalog):
    reservations.release(2)
    Product.objects.filter(pk=catalog[3]["id"]).update(deleted_at=NOW)
    rows = [sale(number, catalog, {number: 1}, False, 0) for number in (1, 2, 3)]
    assert reserve(*rows) == [1]
    assert_books_are_right()


def test_the_catalog_is_the_same_for_the_same_seed_and_is_made_once(catalog):
    again = [msgspec.json.decode(row) for batch in demo.products(SPEC, iter(())) for row in batch.rows]
    assert again == catalog
    other = Spec(seed=8, users=1, products=20, orders=1, now=NOW)
    (batch,) = demo.products(other, iter(()))
    assert [msgspec.json.decode(row)["name"] for row in batch.rows] != [product["name"] for product in catalog]
    assert Product.objects.count() == Event.objects.filter(type="product.created").count() == 40
    assert all(0 < product.price < 1000 and product.name and product.category for product in Product.objects.all())


def test_some_products_are_sold_out_and_some_nearly_so(catalog):
    demo.take_stock(SPEC)
    stocks = list(Product.objects.values_list("stock", flat=True))
    assert stocks.count(0) == 1
    assert sum(0 < stock <= 10 for stock in stocks) == 2
    assert_books_are_right()


def test_prices_of_the_demo_have_the_decimals_of_the_currency(settings):
    settings.CURRENCY = "JPY"
    rows = [msgspec.json.decode(row) for batch in demo.products(SPEC, iter(())) for row in batch.rows]
    assert rows and all(re.fullmatch(r"[1-9]\d*", row["price"]) for row in rows)
