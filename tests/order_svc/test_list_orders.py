"""GET /api/orders and GET /api/orders/user/{userId}."""

from datetime import UTC, datetime, timedelta
from itertools import chain
from urllib.parse import quote

import pytest

from order_svc.models import Order
from tests.order_svc.conftest import ANN, BOB, DESK, LAMP
from tests.wire import assert_problem

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def ids(answer):
    assert answer.status_code == 200, answer.content
    return [order["id"] for order in answer.json()["results"]]


@pytest.fixture
def three(place):
    """The ids of three orders, one hour apart: delivered (Ann), cancelled (Bob), confirmed (Ann)."""
    made = [place(userId=user).json()["id"] for user in (ANN, BOB, ANN)]
    for n, (pk, status) in enumerate(zip(made, ["delivered", "cancelled", "confirmed"], strict=True)):
        Order.objects.filter(pk=pk).update(created_at=NOON + timedelta(hours=n), status=status)
    return made


def test_the_list_shows_orders_as_they_are_read_one_by_one_newest_first(api, place):
    made = [
        place().json(),
        place({"userId": 2, "items": [{"productId": p, "quantity": 1} for p in (DESK, LAMP)]}).json(),
    ]
    assert api.get("/api/orders").json() == {"results": made[::-1], "next": None, "previous": None}


def test_without_orders_the_list_is_empty(api):
    assert api.get("/api/orders").json() == {"results": [], "next": None, "previous": None}


def test_every_status_is_in_the_list(api, order_in):
    made = [str(order_in(status).pk) for status in Order.Status.values]
    assert ids(api.get("/api/orders")) == made[::-1]


@pytest.mark.parametrize(
    "query, expected",
    [
        ("", [2, 1, 0]),
        ("userId=1", [2, 0]),
        ("userId=01", [2, 0]),
        ("userId=404", []),
        ("status=cancelled", [1]),
        ("status=pending", []),
        ("userId=1&status=delivered", [0]),
        ("createdAfter=2026-05-01T12:30:00Z", [2, 1]),
        ("createdAfter=2026-05-01T13:00:00Z", [2]),
        ("createdBefore=2026-05-01T13:00:00Z", [0]),
        ("createdAfter=2026-05-01T12:30:00Z&createdBefore=2026-05-01T13:30:00Z", [1]),
        ("createdAfter=2026-05-01T12:30Z", [2, 1]),
        ("createdAfter=2026-05-01T12:30:00.000001Z", [2, 1]),
        ("createdAfter=2026-05-01T14:30:00%2B02:00", [2, 1]),
        ("createdAfter=2026-05-01T14:30:00+02:00", [2, 1]),
        ("createdAfter=2026-05-01T07:30:00-05:00", [2, 1]),
        ("createdBefore=2026-05-01T14:30:00+02:00&userId=1&status=delivered", [0]),
        ("createdBefore=1970-01-01T00:00:00Z", []),
        ("createdAfter=9999-12-31T23:59:59Z", []),
    ],
)
def test_filters_select_orders(api, three, query, expected):
    assert ids(api.get(f"/api/orders?{query}")) == [three[n] for n in expected]


BAD_TIMES = ["yesterday", "2026-13-01T00:00:00Z", "2026-05-01T25:00:00Z", "1714564800", "", "0001-01-01T00:00:00+14:00"]


@pytest.mark.parametrize("field", ["createdAfter", "createdBefore"])
@pytest.mark.parametrize("value", [*BAD_TIMES, "9999-12-31T23:59:59-14:00", "2026-05-01T12:00:00 02:00x"])
def test_a_malformed_time_is_refused(api, field, value):
    assert_problem(api.get(f"/api/orders?{field}={quote(value)}"), 400, "invalid", [field])


@pytest.mark.parametrize("field", ["createdAfter", "createdBefore"])
@pytest.mark.parametrize("value", ["2026-05-01T12:00:00", "2026-05-01 12:00", "2026-05-01", "2026-05-01T12:00:00.5"])
def test_a_time_without_a_zone_is_refused(api, field, value):
    (error,) = assert_problem(api.get(f"/api/orders?{field}={quote(value)}"), 400, "invalid", [field])
    assert "2030-01-31T12:00:00Z" in error["detail"]


@pytest.mark.parametrize(
    "query, field",
    [
        ("userId=x", "userId"),
        ("userId=", "userId"),
        ("userId=-1", "userId"),
        (f"userId={2**63}", "userId"),
        ("userId=%D9%A1", "userId"),
        ("status=unheard-of", "status"),
        ("status=CONFIRMED", "status"),
        ("status=", "status"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("limit=1.5", "limit"),
        ("cursor=garbage", "cursor"),
        ("cursor=%00", "cursor"),
        ("cursor=AAAA", "cursor"),
        ("user=1", "user"),
        ("userid=1", "userid"),
        ("page=2", "page"),
    ],
)
def test_a_malformed_or_unknown_parameter_is_refused(api, query, field):
    assert_problem(api.get(f"/api/orders?{query}"), 400, "invalid", [field])


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 200])
def test_pages_hold_every_order_once_forth_and_back(api, place, limit):
    made = [place().json()["id"] for _ in range(7)][::-1]
    url, forth = f"/api/orders?limit={limit}", []
    while url:
        page = api.get(url)
        forth.append(ids(page))
        last, url = page, page.json()["next"]
    assert list(chain(*forth)) == made
    assert all(len(page) == limit for page in forth[:-1])
    url, back = last.json()["previous"], [forth[-1]]
    while url:
        page = api.get(url)
        back.append(ids(page))
        url = page.json()["previous"]
    assert back == forth[::-1]


def test_a_new_order_does_not_shift_the_pages(api, place):
    made = [place().json()["id"] for _ in range(4)][::-1]
    first = api.get("/api/orders?limit=2")
    place()
    assert ids(first) + ids(api.get(first.json()["next"])) == made


def test_pages_keep_their_filters(api, three):
    page = api.get("/api/orders?userId=1&limit=1&createdAfter=2026-05-01T13:00:00%2B02:00")
    assert ids(page) == [three[2]]
    assert ids(api.get(page.json()["next"])) == [three[0]]


def test_a_page_has_fifty_orders_by_default(api, place):
    orders = [place().json()["id"] for _ in range(51)]
    assert ids(api.get("/api/orders")) == orders[:0:-1]


def test_a_users_orders_newest_first(api, three):
    answer = api.get("/api/orders/user/1")
    assert ids(answer) == [three[2], three[0]]
    assert answer.json() == api.get("/api/orders?userId=1").json()
    assert ids(api.get("/api/orders/user/1/")) == [three[2], three[0]]


def test_a_users_orders_come_in_pages_too(api, three):
    page = api.get("/api/orders/user/1?limit=1")
    assert ids(page) == [three[2]]
    assert ids(api.get(page.json()["next"])) == [three[0]]


def test_an_unknown_user_has_no_orders(api, three):
    assert ids(api.get("/api/orders/user/404")) == []


@pytest.mark.parametrize("user_id", [str(2**63), "9" * 40, "x", "-1", "١", ""])
def test_an_invalid_user_id_is_404(api, user_id):
    assert_problem(api.get(f"/api/orders/user/{user_id}"), 404, "not_found")


@pytest.mark.parametrize("query", ["status=confirmed", "userId=1", "limit=0", "cursor=x"])
def test_a_users_list_takes_the_page_parameters_alone(api, query):
    assert_problem(api.get(f"/api/orders/user/1?{query}"), 400, "invalid", [query.split("=")[0]])


STATUSES = ("pending", "confirmed", "rejected", "cancelled", "shipped", "delivered")


@pytest.fixture
def mixed(place):
    """Twelve orders, two of each status, as ``{id: status}``, newest first."""
    made = {place().json()["id"]: STATUSES[n % 6] for n in range(12)}
    for pk, status in made.items():
        Order.objects.filter(pk=pk).update(status=status)
    return dict(reversed(made.items()))


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 50])
@pytest.mark.parametrize("wanted", [("pending", "shipped"), ("delivered", "delivered"), STATUSES, ("confirmed",)])
def test_a_filter_given_several_times_means_any_of_the_values_on_every_page(api, mixed, wanted, limit):
    expected = [pk for pk, status in mixed.items() if status in wanted]
    there, back, page = [], [], f"/api/orders?limit={limit}&" + "&".join(f"status={status}" for status in wanted)
    while page:
        answer = api.get(page)
        there.append(ids(answer))
        page, last = answer.json()["next"], answer.json()
    page = last["previous"]
    while page:
        answer = api.get(page)
        back.append(ids(answer))
        page = answer.json()["previous"]
    assert list(chain(*there)) == expected
    assert back[::-1] == there[:-1]


def test_a_repeated_filter_is_combined_with_the_others(api, mixed):
    newest = next(iter(mixed))
    Order.objects.filter(pk=newest).update(user_id=99)
    assert ids(api.get(f"/api/orders?userId=99&status={mixed[newest]}&status=pending")) == [newest]


def test_an_unknown_value_among_several_is_named(api):
    errors = assert_problem(api.get("/api/orders?status=confirmed&status=lost"), 400, "invalid", ["status"])
    assert "lost" in errors[0]["detail"]


def test_at_most_twenty_values_are_taken(api):
    twenty = "&".join(["status=confirmed"] * 20)
    assert api.get(f"/api/orders?{twenty}").status_code == 200
    assert_problem(api.get(f"/api/orders?{twenty}&status=confirmed"), 400, "invalid", ["status"])


@pytest.mark.parametrize("query", ["limit=1&limit=2", "userId=1&userId=1", "createdAfter=2026-01-01T00:00:00Z&" * 2])
def test_any_other_parameter_given_twice_is_refused(api, query):
    errors = assert_problem(api.get(f"/api/orders?{query}"), 400, "invalid", [query.partition("=")[0]])
    assert errors[0]["code"] == "repeated"
