"""POST /api/orders."""

import json
import time
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.db import DataError, IntegrityError, transaction
from hypothesis import given
from hypothesis import strategies as st

from order_svc import services
from order_svc.models import Order, OrderLine
from platform_core.events.models import Event
from platform_core.http import context
from platform_core.http.errors import DeadlineExceeded
from platform_core.outbox.models import OutboxMessage
from tests import people
from tests.order_svc.conftest import (
    ANN,
    BOB,
    DESK,
    FAILURES,
    LAMP,
    NOBODY,
    NOTHING,
    PROBLEM,
    Neighbours,
    left_behind,
    problem,
    recover_what_is_pending,
    saying,
)
from tests.wire import assert_problem

pytestmark = pytest.mark.django_db
FIELDS = {"id", "userId", "status", "items", "total", "currency", "createdAt", "updatedAt"}


def ordered(neighbours):
    """The reservations that product-service was asked for."""
    (request,) = [request for request in neighbours.received if request.method == "PUT"]
    return json.loads(request.body)["items"]


def test_it_answers_201_with_the_confirmed_order_and_where_it_is(place):
    answer = place()
    order = answer.json()
    assert answer.status_code == 201
    assert answer["Location"] == f"/api/orders/{order['id']}"
    assert set(order) >= FIELDS
    assert (order["userId"], order["status"], order["currency"]) == ("1", "confirmed", "USD")
    line = {"productId": "11", "name": "Lamp", "unitPrice": 19.99, "quantity": 2, "subtotal": 39.98}
    assert order["items"] == [line]
    assert order["total"] == 39.98
    assert abs(datetime.fromisoformat(order["createdAt"]) - datetime.now(UTC)).total_seconds() < 60
    assert order["createdAt"].endswith("Z") and order["updatedAt"].endswith("Z")


def test_the_answer_equals_a_later_read(api, place):
    answer = place(items=[{"productId": DESK, "quantity": 1}, {"productId": LAMP, "quantity": 3}], body={"userId": 1})
    read = api.get(answer["Location"])
    assert read.json() == answer.json()
    assert read["ETag"] == answer["ETag"]


def test_a_trailing_slash_makes_no_difference(api, neighbours):
    answer = api.post("/api/orders/", {"userId": ANN, "productId": LAMP, "quantity": 1})
    assert answer.status_code == 201
    assert answer["Location"] == f"/api/orders/{answer.json()['id']}"


@pytest.mark.parametrize(
    "body",
    [
        {"userId": 1, "productId": 11, "quantity": 2},
        {"userId": "1", "productId": "11", "quantity": 2},
        {"userId": "01", "productId": "0011", "quantity": 2},
        {"userId": 1, "items": [{"productId": 11, "quantity": 2}]},
        {"userId": "1", "items": [{"productId": "11", "quantity": 2}]},
    ],
)
def test_ids_are_strings_or_numbers_and_one_product_needs_no_list(place, body):
    order = place(body).json()
    assert order["userId"] == "1"
    assert [(line["productId"], line["quantity"]) for line in order["items"]] == [("11", 2)]


@pytest.mark.parametrize("quantity", [1, 1_000_000])
def test_the_smallest_and_the_largest_quantity(place, quantity):
    answer = place(quantity=quantity)
    assert answer.status_code == 201
    assert Decimal(str(answer.json()["total"])) == quantity * Decimal("19.99")


def test_a_hundred_products_are_an_order_and_keep_their_sequence(place, neighbours):
    products = [(n * 7919) % 1009 + 1 for n in range(100)]
    neighbours.catalog = {product: (f"P{product}", "1.10") for product in products}
    order = place({"userId": 1, "items": [{"productId": p, "quantity": 1} for p in products]}).json()
    assert [int(line["productId"]) for line in order["items"]] == products
    assert order["total"] == 110


def test_lines_of_one_product_are_summed(place, neighbours):
    items = [(LAMP, 2), (DESK, 1), (str(LAMP), 3)]
    order = place({"userId": 1, "items": [{"productId": p, "quantity": n} for p, n in items]}).json()
    assert [(line["productId"], line["quantity"]) for line in order["items"]] == [("11", 5), ("22", 1)]
    assert ordered(neighbours) == [{"productId": "11", "quantity": 5}, {"productId": "22", "quantity": 1}]


def test_a_hundred_lines_of_a_million_pieces_of_one_product_are_an_order(place):
    answer = place({"userId": 1, "items": [{"productId": LAMP, "quantity": 1_000_000}] * 100})
    assert answer.status_code == 201
    assert answer.json()["items"][0]["quantity"] == 100_000_000


INVALID = [
    ({}, ["userId"]),
    ({"userId": 1}, ["productId", "quantity"]),
    ({"userId": 1, "productId": 11}, ["quantity"]),
    ({"userId": 1, "quantity": 1}, ["productId"]),
    ({"productId": 11, "quantity": 1}, ["userId"]),
    ({"userId": 1, "items": []}, ["items"]),
    ({"userId": 1, "items": None}, ["items"]),
    ({"userId": 1, "items": "11"}, ["items"]),
    ({"userId": 1, "items": {"productId": 11, "quantity": 1}}, ["items"]),
    ({"userId": 1, "items": [{"productId": 11, "quantity": 1}] * 101}, ["items"]),
    ({"userId": 1, "items": [11]}, ["items[0]"]),
    ({"userId": 1, "items": [{"productId": 11, "quantity": 1}, None]}, ["items[1]"]),
    ({"userId": 1, "items": [{}]}, ["items[0].productId", "items[0].quantity"]),
    ({"userId": 1, "items": [{"productId": 11, "quantity": 1}, {"quantity": 1}]}, ["items[1].productId"]),
    ({"userId": 1, "items": [{"productId": 11, "quantity": 0}]}, ["items[0].quantity"]),
    (
        {"userId": 1, "items": [{"productId": 11, "quantitty": 1, "x": 1}, {"productId": 11}], "couponCode": "X"},
        ["items[0].quantitty", "items[0].x", "items[0].quantity", "items[1].quantity", "couponCode"],
    ),
    ({"userId": 1, "productId": 11, "quantity": 1, "currency": "EUR"}, ["currency"]),
    ({"userId": 1, "productId": 11, "quantity": 1, "items": [{"productId": 11, "quantity": 1}]}, ["productId"]),
    ({"userId": 1, "quantity": 1, "items": [{"productId": 11, "quantity": 1}]}, ["quantity"]),
    ([], ["body"]),
    ("order", ["body"]),
    (5, ["body"]),
]
REPEATED = '{"userId": 1, "items": [{"productId": 11, "quantity": 1, "quantity": 2}]}'
NO_QUANTITY = [0, -1, 1_000_001, 10**30, 1.5, "two", "", "1.5", "1_0", "١", True, None, [], {}, [1], {"a": 1}]
NO_ID = ["", "x", "-1", -1, 1.5, True, None, [], {}, [1], 2**63, str(2**63), "1" * 30, " 1", "1 ", "+1", "1e3", "١"]


@pytest.mark.parametrize("body, fields", INVALID)
def test_malformed_fields_are_reported_by_name_without_calling_peers(place, neighbours, body, fields):
    assert_problem(place(body), 400, "invalid", fields)
    assert not neighbours.asked
    assert not Order.objects.exists()


def test_the_nearest_name_of_an_unknown_member_is_named_and_a_repeated_one(place, send, neighbours):
    items = [{"productId": 11, "quantity": 1, "quantitty": 1}]
    (error,) = assert_problem(place({"userId": 1, "items": items}), 400, "invalid", ["items[0].quantitty"])
    assert (error["code"], "'quantity'" in error["detail"]) == ("unknown_field", True)
    (error,) = assert_problem(send("POST", "/api/orders", REPEATED), 400, "invalid", ["items[0].quantity"])
    assert error["code"] == "repeated"
    assert not neighbours.asked


@pytest.mark.parametrize("quantity", NO_QUANTITY, ids=repr)
def test_a_quantity_is_a_whole_number_from_one_to_a_million(place, neighbours, quantity):
    assert_problem(place(quantity=quantity), 400, "invalid", ["quantity"])
    body = {"userId": 1, "items": [{"productId": LAMP, "quantity": 1}, {"productId": DESK, "quantity": quantity}]}
    assert_problem(place(body), 400, "invalid", ["items[1].quantity"])
    assert not neighbours.asked


@pytest.mark.parametrize("value", NO_ID, ids=repr)
def test_an_id_is_a_string_of_digits_or_a_whole_number(place, neighbours, value):
    assert_problem(place(userId=value), 400, "invalid", ["userId"])
    assert_problem(place(productId=value), 400, "invalid", ["productId"])
    body = {"userId": 1, "items": [{"productId": value, "quantity": 1}]}
    assert_problem(place(body), 400, "invalid", ["items[0].productId"])
    assert not neighbours.asked


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=5,
)
odd_bodies = st.fixed_dictionaries(
    {},
    optional={
        "userId": json_values | st.just(1),
        "productId": json_values | st.just(11),
        "quantity": json_values | st.just(1),
        "items": json_values
        | st.lists(
            st.fixed_dictionaries(
                {}, optional={"productId": json_values | st.just(11), "quantity": json_values | st.just(1)}
            )
        ),
    },
)


@given(body=odd_bodies | json_values)
def test_any_body_gives_a_valid_response(place, neighbours, body):
    assert place(body).status_code in (201, 400, 422)


def test_an_unknown_user_is_422_and_no_order_is_kept(place, neighbours):
    (error,) = assert_problem(place(userId=NOBODY), 422, "unknown_user", ["userId"])
    assert error["code"] == "unknown_user"
    assert neighbours.asked == [("GET", f"/api/users/{NOBODY}")]
    assert not Order.objects.exists()
    assert left_behind() == ([], [])


def test_a_disabled_account_is_422_and_no_order_is_kept(place, neighbours):
    neighbours.disabled = {BOB}
    (error,) = assert_problem(place(userId=BOB), 422, "inactive_user", ["userId"])
    assert error["code"] == "inactive_user"
    assert neighbours.asked == [("GET", f"/api/users/{BOB}")]
    assert not Order.objects.exists()
    assert left_behind() == ([], [])
    assert place(userId=ANN).status_code == 201


def test_staff_cannot_order_for_a_disabled_account(api, place, neighbours, production):
    neighbours.disabled = {BOB}
    body = {"userId": BOB, "productId": LAMP, "quantity": 1}
    answer = api.post("/api/orders", body, headers=people.as_user(9, "admin"))
    assert_problem(answer, 422, "inactive_user", ["userId"])


def test_an_unknown_product_is_422_and_names_the_line(place):
    body = {"userId": 1, "items": [{"productId": LAMP, "quantity": 1}, {"productId": NOTHING, "quantity": 1}]}
    (error,) = assert_problem(place(body), 422, "unknown_product", ["items[1]"])
    assert error["productId"] == str(NOTHING)


def test_too_little_stock_is_409_and_says_how_much_there_is(place, neighbours):
    neighbours.stock = {LAMP: 4, DESK: 0}
    body = {"userId": 1, "items": [{"productId": LAMP, "quantity": 5}, {"productId": DESK, "quantity": 1}]}
    errors = assert_problem(place(body), 409, "insufficient_stock", ["items[0]", "items[1]"])
    found = [(e["code"], e["productId"], e["requested"], e["available"]) for e in errors]
    assert found == [("insufficient_stock", "11", 5, 4), ("insufficient_stock", "22", 1, 0)]


@pytest.mark.parametrize("product, code, status", [(LAMP, "insufficient_stock", 409), (404, "unknown_product", 422)])
def test_a_refusal_names_the_first_line_of_the_product_as_the_client_sent_it(place, neighbours, product, code, status):
    neighbours.stock = {LAMP: 3}
    items = [(DESK, 1), (DESK, 1), (product, 2), (product, 2)]
    body = {"userId": 1, "items": [{"productId": p, "quantity": n} for p, n in items]}
    assert_problem(place(body), status, code, ["items[2]"])


@pytest.mark.parametrize("stock, products", [({LAMP: 1}, [LAMP]), ({}, [NOTHING])])
def test_an_order_that_a_rule_refuses_is_rejected_and_gives_back_what_it_may_hold(place, neighbours, stock, products):
    neighbours.stock = stock
    place({"userId": 1, "items": [{"productId": product, "quantity": 2} for product in products]})
    order = Order.objects.get()
    assert order.status == "rejected"
    assert order.reason in ("insufficient_stock", "unknown_product")
    assert left_behind() == (["order.rejected"], [f"order-{order.pk}-release"])
    assert Event.objects.get().data["reason"] == order.reason


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_without_an_answer_from_user_service_it_is_503_and_no_order_is_kept(place, neighbours, failure):
    neighbours.user_step = failure
    answer = place()
    assert_problem(answer, 503, "unavailable")
    assert int(answer["Retry-After"]) >= 1
    assert "user-service" in answer.json()["detail"]
    assert not Order.objects.exists()
    assert left_behind() == ([], [])


PRODUCT_FAILURES = {
    **FAILURES,
    "404": lambda request: problem(404, "not_found"),
    "a released reservation": lambda request: problem(409, "reservation_released"),
    "a reservation of other items": lambda request: problem(409, "reservation_conflict"),
    "an answer about another product": saying(201, Neighbours().reservation("1", [(DESK, 2)])),
    "an answer about fewer pieces": saying(201, Neighbours().reservation("1", [(LAMP, 1)])),
    "an answer about more than that": saying(201, Neighbours().reservation("1", [(LAMP, 2), (DESK, 1)])),
}


@pytest.mark.parametrize("failure", PRODUCT_FAILURES.values(), ids=PRODUCT_FAILURES)
def test_without_an_answer_from_product_service_it_is_503_and_the_stock_goes_back(place, neighbours, failure):
    neighbours.product_step = failure
    answer = place(key="k-1")
    assert_problem(answer, 503, "unavailable")
    assert int(answer["Retry-After"]) >= 1
    assert "product-service" in answer.json()["detail"]
    order = Order.objects.get()
    assert (order.status, order.reason, order.idempotency_key) == ("rejected", "unavailable", None)
    assert left_behind() == (["order.rejected"], [f"order-{order.pk}-release"])
    assert Event.objects.get().data["reason"] == "unavailable"
    release = OutboxMessage.objects.get()
    assert (release.kind, release.destination) == ("stock.release", "product-service")


@pytest.mark.parametrize("currency, status", [("USD", 201), ("EUR", 503), ("", 201)])
def test_an_order_is_not_confirmed_with_prices_in_another_currency(place, neighbours, currency, status):
    """An older product-service does not say its currency."""
    reserved = json.loads(neighbours.reservation("1", [(LAMP, 2)]))
    neighbours.product_step = saying(201, json.dumps({**reserved, "currency": currency} if currency else reserved))
    answer = place()
    assert answer.status_code == status, answer.content
    if status == 503:
        assert "Orders are in USD, but product-service has prices in EUR" in answer.json()["detail"]
        order = Order.objects.get()
        assert (order.status, order.reason) == ("rejected", "unavailable")
        assert left_behind() == (["order.rejected"], [f"order-{order.pk}-release"])


@pytest.mark.parametrize("step", ["user_step", "product_step"])
@pytest.mark.parametrize("status, code", [(401, "not_authenticated"), (403, "permission_denied")])
def test_if_a_peer_refuses_our_credentials_the_503_says_so(place, neighbours, step, status, code):
    setattr(neighbours, step, lambda request: problem(status, code))
    answer = place(key="k-1")
    assert_problem(answer, 503, "unavailable")
    peer = "user-service" if step == "user_step" else "product-service"
    assert f"{peer} refuses order-service's credentials" in answer.json()["detail"]
    assert "does not answer" not in answer.json()["detail"]
    setattr(neighbours, step, neighbours.know_user if step == "user_step" else neighbours.reserve)
    assert place(key="k-1").status_code == 201


def test_a_product_service_at_a_wrong_address_is_no_missing_product(place, neighbours):
    body = {"type": "/problems/unknown-path", "status": 404, "code": "not_found", "detail": "Nothing here."}
    neighbours.product_step = lambda request: (404, PROBLEM, json.dumps(body))
    answer = place(key="k-1")
    assert_problem(answer, 503, "unavailable")
    assert "product-service has no such route" in answer.json()["detail"]


@pytest.mark.parametrize("failure", PRODUCT_FAILURES.values(), ids=PRODUCT_FAILURES)
def test_after_a_503_the_same_key_may_succeed(place, neighbours, failure):
    neighbours.product_step = failure
    assert place(key="k-1").status_code == 503
    neighbours.product_step = neighbours.reserve
    answer = place(key="k-1")
    assert answer.status_code == 201
    assert not answer.has_header("Idempotent-Replayed")


def test_an_answer_that_comes_after_recovery_confirms_nothing(place, neighbours):
    """Recovery rejected the order while product-service was still working."""

    def late(request):
        recover_what_is_pending()
        return neighbours.reserve(request)

    neighbours.product_step = late
    answer = place(key="k-1")
    assert_problem(answer, 503, "unavailable")
    order = Order.objects.get()
    assert (order.status, order.reason, order.total) == ("rejected", "abandoned", None)
    assert left_behind() == (["order.rejected"], [f"order-{order.pk}-release"])


@pytest.mark.parametrize("failure", ["insufficient_stock", "unknown_product"])
def test_a_refusal_after_recovery_is_503_because_the_key_may_have_another_order(place, neighbours, failure):
    def late(request):
        recover_what_is_pending()
        return problem(409, failure)

    neighbours.product_step = late
    assert_problem(place(key="k-1"), 503, "unavailable")
    assert Order.objects.get().refusal is None
    assert left_behind()[0] == ["order.rejected"]
    neighbours.product_step = neighbours.reserve
    assert place(key="k-1").status_code == 201


def test_a_request_past_its_deadline_calls_no_peer_before_the_saga(api, neighbours):
    body = {"userId": ANN, "productId": LAMP, "quantity": 1}
    answer = api.post("/api/orders", body, headers={"X-Request-Timeout": "0.000001"})
    assert_problem(answer, 503, "deadline_exceeded")
    assert answer["Retry-After"]
    assert not neighbours.asked
    assert not Order.objects.exists()


@pytest.mark.parametrize("step", ["user_step", "product_step"])
def test_a_deadline_during_the_saga_rejects_the_order(api, neighbours, step):
    usual = getattr(neighbours, step)

    def takes_all_the_time(request):
        with suppress(DeadlineExceeded):
            while context.remaining():
                time.sleep(0.01)
        return usual(request)

    setattr(neighbours, step, takes_all_the_time)
    body = {"userId": ANN, "productId": LAMP, "quantity": 1}
    assert_problem(api.post("/api/orders", body, headers={"X-Request-Timeout": "0.3"}), 503, "deadline_exceeded")
    assert not Order.objects.exclude(status="rejected").exists()
    assert left_behind()[0] == ["order.rejected"] * Order.objects.count()


def test_peers_are_called_in_order_and_the_order_is_committed_before_stock_is_reserved(place, neighbours):
    seen = []

    def look(request):
        seen.append(Order.objects.values_list("status", flat=True).get())
        return neighbours.reserve(request)

    neighbours.product_step = look
    order = place().json()
    assert seen == ["pending"]
    assert neighbours.asked == [("GET", "/api/users/1"), ("PUT", f"/api/stock-reservations/{order['id']}")]


def test_peers_get_the_request_id_the_trace_and_the_remaining_time(api, neighbours):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = {"X-Request-ID": "abc-1", "traceparent": trace, "X-Request-Timeout": "3"}
    api.post("/api/orders", {"userId": ANN, "productId": LAMP, "quantity": 1}, headers=headers)
    assert len(neighbours.received) == 2
    for request in neighbours.received:
        assert request.headers["X-Request-ID"] == "abc-1"
        assert request.headers["traceparent"].split("-")[1] == trace.split("-")[1]
        assert 0 < float(request.headers["X-Request-Timeout"]) <= 3


@pytest.mark.parametrize(
    "lines, total",
    [
        ([("0.1", 3)], "0.30"),
        ([("0.01", 1_000_000)], "10000.00"),
        ([("0.1", 1), ("0.2", 1)], "0.30"),
        ([("9999999999.99", 1_000_000)], "9999999999990000.00"),
        ([("9999999999.99", 1_000_000)] * 100, "999999999999000000.00"),
        ([("0", 5)], "0.00"),
    ],
)
def test_the_total_is_exact(api, place, neighbours, lines, total):
    neighbours.catalog = {n + 1: ("P", price) for n, (price, _) in enumerate(lines)}
    body = {"userId": 1, "items": [{"productId": n + 1, "quantity": number} for n, (_, number) in enumerate(lines)]}
    answer = place(body)
    assert answer.status_code == 201
    for content in (answer.content, api.get(answer["Location"]).content):
        assert json.loads(content, parse_float=Decimal, parse_int=Decimal)["total"] == Decimal(total)
    assert Order.objects.get().total == Decimal(total)


def test_names_and_prices_are_those_of_the_moment(api, place, neighbours):
    location = place()["Location"]
    neighbours.catalog[LAMP] = ("New Lamp", "99")
    assert api.get(location).json()["items"][0]["name"] == "Lamp"
    assert api.get(location).json()["total"] == 39.98
    assert place().json()["items"][0]["name"] == "New Lamp"


@pytest.mark.parametrize("name", ["Löffel “für” 日本 🙂", "a'b;--", "%s {0} \\n", "<b>x</b>", "x" * 200])
def test_a_name_is_kept_as_it_is(api, place, neighbours, name):
    neighbours.catalog[LAMP] = (name, "1")
    assert api.get(place()["Location"]).json()["items"][0]["name"] == name


def test_a_confirmation_leaves_one_event_and_one_message(placed):
    assert left_behind() == (["order.confirmed"], [f"order-{placed['id']}-confirmed"])
    event = Event.objects.get()
    assert event.subject == placed["id"]
    assert event.data["status"] == "confirmed"
    assert [item["name"] for item in event.data["items"]] == ["Lamp"]
    assert Decimal(str(event.data["total"])) == Decimal("39.98")


def test_the_confirmation_names_the_order_its_lines_and_its_total(placed):
    message = OutboxMessage.objects.get()
    assert (message.kind, message.destination) == ("notification.send", "notification-service")
    content = message.payload
    assert (content["user_id"], content["type"]) == (1, "order_confirmed")
    assert placed["id"] in content["subject"]
    assert "2 × Lamp: 39.98 USD" in content["message"]
    assert "Total: 39.98 USD" in content["message"]


def test_the_longest_confirmation_fits_into_a_message(place, neighbours):
    neighbours.catalog = dict.fromkeys(range(1, 101), ("🙂" * 200, "9999999999.99"))
    items = [{"productId": n, "quantity": 1_000_000} for n in range(1, 101)]
    assert place({"userId": 1, "items": items}).status_code == 201
    assert len(OutboxMessage.objects.get().payload["message"]) <= 32_768


@pytest.mark.django_db(transaction=True)
def test_stock_is_released_if_the_confirmation_cannot_be_written(place, neighbours):
    """After an unexpected error, too, no order may stay pending."""
    neighbours.catalog[LAMP] = ("x" * 201, "1")
    answer = place(key="k-1")
    assert_problem(answer, 500, "internal_error")
    order = Order.objects.get()
    assert (order.status, order.idempotency_key) == ("rejected", None)
    assert left_behind() == (["order.rejected"], [f"order-{order.pk}-release"])
    assert OrderLine.objects.get().name is None


def test_orders_are_numbered_upwards(place):
    first, second = place().json()["id"], place().json()["id"]
    assert int(first) < int(second)


def test_a_broken_constraint_leaves_the_transaction_of_the_caller_usable(neighbours):
    with transaction.atomic(), pytest.raises(IntegrityError, match="order_line_quantity_positive"):
        services.place_order(ANN, {LAMP: 0})
    assert not Order.objects.exists()


def test_a_confirmation_that_fails_in_its_transaction_rejects_the_order(neighbours):
    neighbours.catalog[LAMP] = ("Lamp", "1e30")  # more than the column takes
    with transaction.atomic(), pytest.raises(DataError):
        services.place_order(ANN, {LAMP: 1})
    order = Order.objects.get()
    assert order.status == "rejected"
    assert left_behind() == (["order.rejected"], [f"order-{order.pk}-release"])


def test_an_unexpected_violation_of_a_constraint_is_a_500_and_leaves_nothing_pending(place, placed):
    """The message of an earlier order with the same id, from before the database lost its transactions."""
    following = int(placed["id"]) + 1
    OutboxMessage.objects.create(
        kind="notification.send",
        destination="notification-service",
        aggregate=f"order:{following}",
        key=f"order-{following}-confirmed",
        payload={},
        state="delivered",
    )
    assert_problem(place(), 500, "internal_error")
    order = Order.objects.get(pk=following)
    assert (order.status, order.reason) == ("rejected", "unavailable")
    assert OutboxMessage.objects.get(key=f"order-{following}-release").state == "pending"
    assert place().status_code == 201
