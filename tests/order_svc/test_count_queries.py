"""The number of queries of each request. A higher number means a slower request."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.order_svc.conftest import ANN, DESK, LAMP, problem
from tests.wire import BRACKETS, statements_of

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "path",
    [
        "/api/orders",
        "/api/orders?userId=1&status=confirmed",
        "/api/orders?status=confirmed&status=cancelled",
        "/api/orders?createdAfter=2020-01-01T00:00:00Z",
        "/api/orders/user/1",
        "/api/events",
    ],
)
def test_a_list_is_one_query(api, place, django_assert_num_queries, path):
    orders = [
        place({"userId": ANN, "items": [{"productId": p, "quantity": 1} for p in (LAMP, DESK)]}) for _ in range(3)
    ]
    with django_assert_num_queries(1):
        assert api.get(path.format(**orders[0].json())).status_code == 200


def test_an_order_is_two_queries_and_a_missing_order_is_one(api, placed, django_assert_num_queries):
    with django_assert_num_queries(2):
        tag = api.get(f"/api/orders/{placed['id']}")["ETag"]
    with django_assert_num_queries(2):
        assert api.get(f"/api/orders/{placed['id']}", headers={"If-None-Match": tag}).status_code == 304
    with django_assert_num_queries(1):
        assert api.get("/api/orders/0").status_code == 404


def test_malformed_requests_cost_no_query(api, place, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert place({}).status_code == 400
        assert api.get("/api/orders?limit=0").status_code == 400
        assert api.get("/api/orders/99999999999999999999").status_code == 404
    with django_assert_num_queries(1):  # an earlier version may have accepted it
        assert place({}, key="k-1").status_code == 400


@pytest.mark.parametrize("lines", [1, 100])
@pytest.mark.parametrize("key, queries", [(None, 2), ("k-1", 3)])
def test_placing_an_order_is_two_queries_with_a_key_three(place, neighbours, lines, key, queries):
    """First the order and lines, then confirmation, prices, event and message. A key adds a check of the key."""
    neighbours.catalog = dict.fromkeys(range(1, 101), ("P", "1"))
    body = {"userId": ANN, "items": [{"productId": n + 1, "quantity": 1} for n in range(lines)]}
    assert len(statements_of(lambda: place(body, key=key))) == queries


@pytest.mark.django_db(transaction=True)
def test_the_statements_that_place_an_order_are_its_transactions(place):
    with CaptureQueriesContext(connection) as captured:
        place(key="k-1")
    assert not [query["sql"] for query in captured if query["sql"].startswith(BRACKETS)]


def test_placing_an_order_calls_each_peer_once_and_repeating_it_calls_none(place, peers):
    place(key="k-1")
    asked = [(call.request.method, call.request.url.partition("/api/")[2].partition("/")[0]) for call in peers.calls]
    assert asked == [("GET", "users"), ("PUT", "stock-reservations")]
    place(key="k-1")
    assert len(peers.calls) == 2


def test_reading_asks_no_peer(api, placed, peers):
    before = len(peers.calls)
    for path in ("/api/orders", f"/api/orders/{placed['id']}", "/api/orders/user/1"):
        assert api.get(path).status_code == 200
    assert len(peers.calls) == before


def test_a_repetition_is_two_queries(place):
    place(key="k-1")
    assert len(statements_of(lambda: place(key="k-1"))) == 2


def test_a_refused_order_is_five_queries(place, neighbours):
    neighbours.stock = {LAMP: 0}
    assert len(statements_of(place)) == 5


def test_placing_an_order_without_a_peer_is_seven_queries(place, neighbours):
    neighbours.product_step = lambda request: problem(503, "unavailable")
    assert len(statements_of(place)) == 7


@pytest.mark.parametrize("move, queries", [("cancel", 11), ("ship", 8)])
def test_a_move_is_eight_queries_and_a_cancel_eleven(api, placed, move, queries):
    """The order and its lines for the permission check; then the change, who caused it, both again, the event, the
    messages.

    The release is written by itself, because it may be there already. An order that is done asks whether its customer
    was erased, with a lock.
    """
    assert len(statements_of(lambda: api.post(f"/api/orders/{placed['id']}/{move}"))) == queries
