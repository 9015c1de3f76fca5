"""The hot requests stay cheap: statements, calls, rows, index entries, WAL, objects left to the garbage collector."""

from itertools import count

import pytest

from tests.costs import Cost, assert_within, cost_of
from tests.order_svc.conftest import ANN, LAMP
from tests.wire import ask_wsgi

pytestmark = pytest.mark.django_db
ORDER = {"userId": ANN, "productId": LAMP, "quantity": 2}


def test_an_order(neighbours, peers):
    keys = count()

    def request():
        assert ask_wsgi("POST", "/api/orders", ORDER, HTTP_IDEMPOTENCY_KEY=f"k-{next(keys)}") == "201 Created"

    assert_within(
        cost_of(request, peers),
        Cost(statements=3, calls=2, rows=6, index_entries=40, wal_bytes=4900, garbage=150, functions=2200),
    )


def test_an_order_of_ten_lines(neighbours, peers):
    neighbours.catalog = dict.fromkeys(range(1, 11), ("P", "1"))
    body = {"userId": ANN, "items": [{"productId": n + 1, "quantity": 1} for n in range(10)]}

    def request():
        assert ask_wsgi("POST", "/api/orders", body) == "201 Created"

    assert_within(
        cost_of(request, peers), Cost(statements=2, calls=2, rows=24, index_entries=67, wal_bytes=9800, garbage=190)
    )


def test_a_repetition(neighbours, peers):
    def request():
        assert ask_wsgi("POST", "/api/orders", ORDER, HTTP_IDEMPOTENCY_KEY="k").startswith("201")

    assert_within(cost_of(request, peers), Cost(statements=2, wal_bytes=100, garbage=150))


@pytest.mark.parametrize("path, statements", [("/api/orders/{id}", 2), ("/api/orders", 1), ("/api/orders/user/1", 1)])
def test_a_read(placed, peers, path, statements):
    def request():
        assert ask_wsgi("GET", path.format(**placed)) == "200 OK"

    assert_within(cost_of(request, peers), Cost(statements, wal_bytes=100, garbage=150))
