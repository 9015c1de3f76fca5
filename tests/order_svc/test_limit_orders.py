"""How many pieces a customer may order at once, and how many orders of a customer may be open."""

import pytest
from django.db import connection

from order_svc import services
from order_svc.models import Order
from order_svc.statements import COUNT_OPEN
from tests.order_svc.conftest import ANN, BOB, LAMP
from tests.people import as_user
from tests.wire import assert_problem, at_once, rows_read, somebody_waits_for_a_lock, statements_of, until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("production", "neighbours")]


@pytest.fixture(autouse=True)
def _limits(settings):
    settings.ORDER_MOST_PIECES, settings.ORDER_MOST_OPEN = 10, 2


def one(quantity: int, user: int = ANN) -> dict:
    return {"userId": user, "productId": LAMP, "quantity": quantity}


def several(*quantities: int) -> dict:
    return {"userId": ANN, "items": [{"productId": LAMP, "quantity": each} for each in quantities]}


@pytest.fixture
def order(api):
    """Places an order as a customer or as staff."""

    def order(body: dict | None = None, *roles: str, key: str | None = None):
        wanted = body or one(1)
        headers = as_user(99 if roles else wanted["userId"], *roles, **({"Idempotency-Key": key} if key else {}))
        return api.post("/api/orders", wanted, headers=headers)

    return order


@pytest.mark.parametrize(
    "body, field",
    [(one(11), "quantity"), (several(11), "items"), (several(5, 6), "items"), (several(*[1] * 11), "items")],
)
def test_an_order_of_too_many_pieces_is_refused(order, neighbours, body, field):
    (error,) = assert_problem(order(body), 400, "invalid", [field])
    assert error["code"] == "too_many_pieces"
    assert error["detail"] == "An order may have at most 10 pieces; this one has 11."
    assert not Order.objects.exists()
    assert not neighbours.asked


@pytest.mark.parametrize("body", [one(10), several(10), several(4, 6)])
def test_an_order_of_as_many_pieces_as_are_allowed_is_placed(order, body):
    assert order(body).status_code == 201


def test_staff_may_order_more(order):
    assert order(one(1_000_000), "orders").status_code == 201


def test_one_order_too_many_is_refused_until_one_is_no_longer_open(api, order):
    first, second = order(), order()
    assert (first.status_code, second.status_code) == (201, 201)
    refused = order()
    assert_problem(refused, 409, "too_many_open_orders")
    assert Order.objects.count() == 2
    assert api.post(f"/api/orders/{first.json()['id']}/cancel", headers=as_user(ANN)).status_code == 200
    assert order().status_code == 201
    assert api.post(f"/api/orders/{second.json()['id']}/ship", headers=as_user(9, "orders")).status_code == 200
    assert order().status_code == 201


def test_pending_orders_are_open_and_rejected_ones_are_not(order):
    order()
    order()
    Order.objects.update(status=Order.Status.PENDING)
    assert order().status_code == 409
    Order.objects.update(status=Order.Status.REJECTED)
    assert order().status_code == 201


def test_the_orders_of_others_do_not_count(order):
    for user in (ANN, ANN, BOB, BOB):
        assert order(one(1, user)).status_code == 201


def test_staff_may_place_orders_for_a_customer_who_has_too_many(order):
    for _ in range(2):
        order()
    assert order(one(1), "support").status_code == 201


def test_a_repetition_gets_its_order_and_a_refused_key_may_be_used_again(api, order):
    made = order(key="k-1")
    order()
    again = order(key="k-1")
    assert (again.status_code, again.json()["id"]) == (201, made.json()["id"])
    assert order(key="k-2").status_code == 409
    api.post(f"/api/orders/{made.json()['id']}/cancel", headers=as_user(ANN))
    assert order(key="k-2").status_code == 201


@pytest.mark.django_db(transaction=True)
def test_two_orders_at_once_do_not_both_take_the_last_place(order, monkeypatch):
    order()
    counted, real = [], services.prepared

    def counting(statement, params):
        found = real(statement, params)
        if statement is COUNT_OPEN and not counted:
            counted.append(found)
            until(somebody_waits_for_a_lock)  # the other one may not count before this one is committed
        return found

    monkeypatch.setattr(services, "prepared", counting)
    answers = at_once([order] * 3)
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    assert Order.objects.count() == 2


def test_the_limit_adds_two_statements_for_customers_alone(order):
    assert len(statements_of(order)) == 2 + 2
    assert len(statements_of(lambda: order(one(1), "orders"))) == 2


def test_counting_reads_no_more_rows_than_the_limit():
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO {Order._meta.db_table}
                (user_id, status, total, currency, reason, confirmed_at, caller, request_id, traceparent,
                 created_at, updated_at, version)
            SELECT n % 20, CASE n % 2 WHEN 0 THEN 'cancelled' ELSE 'confirmed' END, n, 'USD', '', now(), '', '', '',
                   now(), now(), 2
            FROM generate_series(1, 20000) AS n
            """
        )
        cursor.execute(f"ANALYZE {Order._meta.db_table}")
    assert rows_read(COUNT_OPEN % (ANN, 100)) <= 300
