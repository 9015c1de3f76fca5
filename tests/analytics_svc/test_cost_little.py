"""The hot requests stay cheap: statements, calls, rows, index entries, WAL, objects left to the garbage collector."""

from itertools import count

import pytest

from tests.costs import Cost, assert_within, cost_of
from tests.wire import ask_wsgi

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("name, statements, calls", [("summary", 3, 4), ("orders", 3, 1), ("products", 4, 2)])
def test_a_report_with_nothing_new(shop, peers, name, statements, calls):
    shop.order(1)
    shop.product(11)

    def request():
        assert ask_wsgi("GET", f"/api/analytics/{name}") == "200 OK"

    limit = Cost(statements, calls, wal_bytes=100, garbage=350)
    assert_within(cost_of(request, peers), limit)


def test_a_page_of_orders(shop, peers):
    """A thousand new orders of one product: a fact each, and a few figures."""
    request_count = count()

    def request():
        first = 1 + 1000 * next(request_count)
        for number in range(first, first + 1000):
            shop.order(number)
        assert ask_wsgi("GET", "/api/analytics/orders", HTTP_X_REQUEST_TIMEOUT="30") == "200 OK"

    cost = cost_of(request, peers)
    assert_within(
        cost._replace(garbage=0), Cost(statements=9, calls=2, rows=1020, index_entries=2040, wal_bytes=700_000)
    )
