"""The hot requests stay cheap: statements, rows, index entries, WAL, objects left to the garbage collector."""

from itertools import count

import pytest

from tests.costs import Cost, assert_within, cost_of
from tests.wire import ask_wsgi

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "lines, limit",
    [
        (1, Cost(statements=1, rows=5, index_entries=12, wal_bytes=2100, garbage=200)),
        (10, Cost(statements=1, rows=41, index_entries=211, wal_bytes=18_000, garbage=210)),
    ],
)
def test_a_reservation(add, lines, limit):
    products, orders = [add(stock=1000)["id"] for _ in range(lines)], count(1)
    body = {"items": [{"productId": product, "quantity": 1} for product in products]}

    def request():
        assert ask_wsgi("PUT", f"/api/stock-reservations/{next(orders)}", body) == "201 Created"

    assert_within(cost_of(request), limit)


def test_a_release(add, reserve):
    product, orders = add(stock=1000)["id"], count(1)
    for order in range(1, 20):
        assert reserve(order, {product: 1}).status_code == 201

    def request():
        assert ask_wsgi("DELETE", f"/api/stock-reservations/{next(orders)}")[:2] == "20"

    assert_within(cost_of(request), Cost(statements=7, rows=4, index_entries=9, wal_bytes=1700, garbage=200))


def test_a_new_product():
    def request():
        assert ask_wsgi("POST", "/api/products", {"name": "Box", "price": 1, "stock": 5}) == "201 Created"

    assert_within(cost_of(request), Cost(statements=1, rows=3, index_entries=19, wal_bytes=2200, garbage=200))


@pytest.mark.parametrize("path", ["/api/products/{id}", "/api/products", "/api/products?search=lamp&inStock=true"])
def test_a_read(lamp, path):
    def request():
        assert ask_wsgi("GET", path.format(**lamp)) == "200 OK"

    assert_within(cost_of(request), Cost(statements=1, wal_bytes=100, garbage=190))
