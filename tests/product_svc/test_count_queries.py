"""The number of queries of each request. A higher number means a slower request."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.wire import BRACKETS, statements_of

pytestmark = pytest.mark.django_db
BOX = {"name": "Box", "price": 1}


@pytest.mark.parametrize(
    "path",
    [
        "/api/products/{id}",
        "/api/products",
        "/api/products?search=lamp&category=lights&minPrice=1&maxPrice=99&inStock=true&ordering=-price",
        "/api/products/{id}/stock-adjustments",
        "/api/events",
    ],
)
def test_reading_is_one_query(api, lamp, reserve, django_assert_num_queries, path):
    reserve(7, {lamp["id"]: 1})
    with django_assert_num_queries(1):
        assert api.get(path.format(**lamp)).status_code == 200


def test_a_reservation_is_read_by_two_queries(api, lamp, reserve, django_assert_num_queries):
    reserve(7, {lamp["id"]: 1})
    with django_assert_num_queries(2):
        assert api.get("/api/stock-reservations/7").status_code == 200


@pytest.mark.parametrize(
    "method, path, body, headers, queries",
    [
        ("post", "/api/products", BOX, {}, 2),
        ("post", "/api/products", {**BOX, "stock": 5}, {}, 3),
        ("post", "/api/products", {**BOX, "stock": 5}, {"Idempotency-Key": "k"}, 6),
        ("put", "/api/products/{id}", BOX, {}, 4),
        ("patch", "/api/products/{id}", {"price": 1}, {}, 4),
        ("patch", "/api/products/{id}", {"stock": 1}, {}, 6),
        ("delete", "/api/products/{id}", None, {}, 4),
        ("post", "/api/products/{id}/stock-adjustments", {"delta": 1}, {}, 4),
        ("put", "/api/stock-reservations/7", {"items": [{"productId": "{id}", "quantity": 1}]}, {}, 1),
        ("delete", "/api/stock-reservations/7", None, {}, 1),
    ],
)
def test_writing_is_a_few_queries(api, lamp, method, path, body, headers, queries):
    if body and "items" in body:
        body = {"items": [{"productId": lamp["id"], "quantity": 1}]}

    def write():
        answer = getattr(api, method)(path.format(**lamp), *([body] if body else []), headers=headers)
        assert answer.status_code < 300

    assert len(statements_of(write)) <= queries


@pytest.mark.django_db(transaction=True)
def test_a_reservation_of_many_products_is_one_query(add, reserve, django_assert_num_queries):
    products = [add(stock=1) for _ in range(10)]
    with django_assert_num_queries(1):
        assert reserve(7, {product["id"]: 1 for product in products}).status_code == 201


@pytest.mark.django_db(transaction=True)
def test_a_new_product_and_a_reservation_are_one_round_trip_each(api, lamp, reserve, django_assert_num_queries):
    """Outside a transaction, a statement is its own transaction without BEGIN and COMMIT."""
    with django_assert_num_queries(2):
        assert api.post("/api/products", {**BOX, "stock": 5}).status_code == 201
        assert reserve(7, {lamp["id"]: 1}).status_code == 201


def test_repeating_a_reservation_is_a_few_queries(lamp, reserve):
    reserve(7, {lamp["id"]: 1})
    with CaptureQueriesContext(connection) as captured:
        assert reserve(7, {lamp["id"]: 1}).status_code == 200
    assert len([query for query in captured if not query["sql"].startswith(BRACKETS)]) <= 4


def test_the_newest_reservation_is_one_query(api, lamp, reserve, django_assert_num_queries):
    with django_assert_num_queries(1):
        assert api.get("/api/stock-reservations/newest").status_code == 200
