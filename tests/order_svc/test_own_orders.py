"""A customer cannot see the orders of others."""

import pytest

from order_svc.models import Order
from tests.order_svc.conftest import ANN, BOB, LAMP
from tests.people import as_user, bearer, service_token
from tests.wire import assert_problem

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("production")]
LAMPS = {"userId": ANN, "productId": LAMP, "quantity": 2}


@pytest.fixture
def order_of(api, neighbours):
    """Places an order for a user and returns its id."""

    def order_of(user: int, key: str | None = None) -> str:
        headers = as_user(user, **({"Idempotency-Key": key} if key else {}))
        answer = api.post("/api/orders", {**LAMPS, "userId": user}, headers=headers)
        assert answer.status_code == 201, answer.content
        return str(answer.json()["id"])

    return order_of


def ids(answer):
    assert answer.status_code == 200, answer.content
    return {order["id"] for order in answer.json()["results"]}


def test_customers_see_their_own(api, order_of):
    of_ann, of_bob = order_of(ANN), order_of(BOB)
    for user, own in ((ANN, of_ann), (BOB, of_bob)):
        assert ids(api.get("/api/orders", as_user(user))) == {own}
        assert ids(api.get(f"/api/orders/user/{user}", as_user(user))) == {own}
        assert api.get(f"/api/orders/{own}", as_user(user)).json()["userId"] == str(user)


def walk(pk: str) -> list[str]:
    """Ids near the own one, and invalid ids."""
    odd = ["0", str(2**63 - 1), str(2**63), "9" * 40, "-1", "+1", "1.0", "1e1", "%00", "1%00", "..%2f1", "%2e%2e%2f1"]
    odd += ["..", "%D9%A1", "１", "²", "1%20", "1;2", "1,2", "*", "null", "user", "user/1/..", "1%2fcancel", "1%3f"]
    return [*map(str, range(max(1, int(pk) - 3), int(pk) + 4)), "0" + pk, *odd]


def test_no_id_shows_anothers_order(api, order_of):
    of_ann = order_of(ANN)
    for each in walk(of_ann):
        for path in (f"/api/orders/{each}", f"/api/orders/{each}/", f"/api/orders/user/{each}"):
            answer = api.get(path, as_user(BOB))
            if answer.status_code == 200:
                assert ids(answer) == set(), path
            else:
                assert answer.status_code in (301, 302, 403, 404, 405), (path, answer.status_code)
        for move in ("cancel", "ship", "deliver"):
            assert api.post(f"/api/orders/{each}/{move}", headers=as_user(BOB)).status_code in (403, 404, 405), each
    assert Order.objects.get().status == "confirmed"


@pytest.mark.parametrize("path", ["/api/orders/{}", "/api/orders/{}/"])
@pytest.mark.parametrize("headers", [{}, {"If-None-Match": "*"}, {"If-None-Match": '"2"'}])
def test_another_users_order_is_404(api, order_of, path, headers):
    def ask(pk):
        answer = api.get(path.format(pk), {**as_user(BOB), **headers})
        return answer.status_code, {**answer.json(), "requestId": ""}, answer.headers.get("ETag")

    of_ann = int(order_of(ANN))
    assert ask(of_ann)[0] == 404
    assert ask(of_ann) == ask(of_ann + 1000)


@pytest.mark.parametrize(
    "query",
    [
        *("?userId={0}", "?userId={0}&status=confirmed", "?status=confirmed", "?createdAfter=2001-01-01T00:00:00Z"),
        *("?limit=200", "?status=confirmed&status=cancelled", "?userId=0{0}"),
    ],
)
def test_no_filter_shows_anothers_orders(api, order_of, query):
    order_of(ANN)
    own = order_of(BOB)
    assert ids(api.get("/api/orders" + query.format(ANN, BOB), as_user(BOB))) <= {own}


def test_a_filter_by_another_user_finds_nothing_of_ones_own(api, order_of):
    order_of(ANN)
    order_of(BOB)
    assert ids(api.get(f"/api/orders?userId={ANN}", as_user(BOB))) == set()


def test_anothers_cursor_shows_ones_own_orders_alone(api, order_of):
    for _ in range(3):
        order_of(ANN)
    own = order_of(BOB)
    order_of(ANN)
    page = api.get("/api/orders?limit=1", as_user(ANN)).json()["next"]
    assert page
    answer = api.get(page, as_user(BOB))
    assert answer.status_code in (200, 400)
    if answer.status_code == 200:
        assert ids(answer) <= {own}


@pytest.mark.parametrize("other", [BOB, str(BOB), "02", 404])
def test_customers_cannot_place_orders_for_others(api, neighbours, other):
    answer = api.post("/api/orders", {**LAMPS, "userId": other}, headers=as_user(ANN))
    assert_problem(answer, 403, "permission_denied")
    assert not Order.objects.exists()
    assert not neighbours.asked


@pytest.mark.parametrize("own", [ANN, str(ANN), "01"])
def test_customers_place_orders_for_themselves(api, neighbours, own):
    assert api.post("/api/orders", {**LAMPS, "userId": own}, headers=as_user(ANN)).status_code == 201


SMUGGLED = {
    "id": "1000",
    "status": "delivered",
    "total": 0.01,
    "unitPrice": 0.01,
    "subtotal": 0.01,
    "price": 0,
    "currency": "XXX",
    "name": "Cheap",
    "caller": "user:2",
    "idempotencyKey": "k",
    "idempotency_key": "k",
    "fingerprint": "x",
    "user_id": BOB,
    "isStaff": True,
    "roles": ["admin"],
    "version": 99,
    "createdAt": "2001-01-01T00:00:00Z",
    "confirmed_at": "2001-01-01T00:00:00Z",
    "reason": "x",
}


def test_fields_that_a_customer_may_not_set_are_refused(api, neighbours):
    answer = api.post("/api/orders", {**SMUGGLED, **LAMPS}, headers=as_user(ANN))
    assert_problem(answer, 400, "invalid", SMUGGLED.keys() - LAMPS.keys())
    assert not Order.objects.exists()


def test_a_price_in_a_line_is_refused(api, neighbours):
    smuggled = {"unitPrice": 0.01, "subtotal": 0, "name": "Cheap", "order": 1}
    items = [{"productId": LAMP, "quantity": 1, **smuggled}]
    answer = api.post("/api/orders", {"userId": ANN, "items": items}, headers=as_user(ANN))
    assert_problem(answer, 400, "invalid", [f"items[0].{name}" for name in smuggled])
    assert not Order.objects.exists()


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_an_order_cannot_be_overwritten(api, order_of, method):
    own = order_of(ANN)
    answer = getattr(api, method)(f"/api/orders/{own}", {"status": "delivered", "total": 0}, headers=as_user(ANN))
    assert_problem(answer, 405, "method_not_allowed")


def test_the_owner_cancels(api, order_of):
    own = order_of(ANN)
    answer = api.post(f"/api/orders/{own}/cancel", headers=as_user(ANN))
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")


@pytest.mark.parametrize("key", [None, "k"])
def test_only_the_owner_and_staff_may_cancel(api, order_of, key):
    of_ann = order_of(ANN)
    headers = as_user(BOB, **({"Idempotency-Key": key} if key else {}))
    assert_problem(api.post(f"/api/orders/{of_ann}/cancel", headers=headers), 404, "not_found")
    assert_problem(api.post("/api/orders/999999/cancel", headers=headers), 404, "not_found")
    assert Order.objects.get().status == "confirmed"


@pytest.mark.parametrize("move", ["ship", "deliver"])
@pytest.mark.parametrize("role", [None, "support", "catalog"])
def test_only_the_role_orders_may_ship(api, order_of, move, role):
    own = order_of(ANN)
    headers = as_user(ANN, *([role] if role else []))
    assert_problem(api.post(f"/api/orders/{own}/{move}", headers=headers), 403, "permission_denied")
    assert Order.objects.get().status == "confirmed"


@pytest.mark.parametrize("role", ["orders", "admin"])
def test_the_staff_reaches_every_order(api, order_of, role):
    of_ann, of_bob = order_of(ANN), order_of(BOB)
    headers = as_user(99, role)
    assert ids(api.get("/api/orders", headers)) == {of_ann, of_bob}
    assert ids(api.get(f"/api/orders/user/{ANN}", headers)) == {of_ann}
    assert api.post(f"/api/orders/{of_ann}/ship", headers=headers).status_code == 200
    assert api.post("/api/orders", LAMPS, headers=headers).status_code == 201


def test_a_service_places_no_orders(api, neighbours):
    headers = bearer(service_token("notification-service", "order-service", on_behalf_of=str(ANN)))
    assert_problem(api.post("/api/orders", LAMPS, headers=headers), 403, "permission_denied")
    assert_problem(api.get("/api/orders", headers), 403, "permission_denied")
    other = bearer(service_token("product-service", "order-service"))
    assert_problem(api.get("/api/events", other), 403, "permission_denied")


def test_a_key_is_its_callers_own(api, order_of):
    """Two callers with the same key get their own answers and cannot block each other."""
    of_ann, of_bob = order_of(ANN, key="k-1"), order_of(BOB, key="k-1")
    assert of_ann != of_bob
    assert order_of(ANN, key="k-1") == of_ann
    assert order_of(BOB, key="k-1") == of_bob
    assert Order.objects.count() == 2


def test_a_key_does_not_show_anothers_order(api, order_of):
    order_of(ANN, key="k-1")
    answer = api.post("/api/orders", LAMPS, headers=as_user(BOB, **{"Idempotency-Key": "k-1"}))
    assert_problem(answer, 403, "permission_denied")


def test_the_same_person_with_another_token_is_the_same_caller(api, neighbours):
    headers = [as_user(ANN, **{"Idempotency-Key": "k-1"}), as_user(ANN, "orders", **{"Idempotency-Key": "k-1"})]
    answers = [api.post("/api/orders", LAMPS, headers=each) for each in headers]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[1]["Idempotent-Replayed"] == "true"
    assert Order.objects.count() == 1
