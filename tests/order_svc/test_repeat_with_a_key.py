"""POST /api/orders with an Idempotency-Key: one submit, one order."""

import json
from typing import Any

import pytest
import requests
from django.db import connection, transaction

from order_svc.models import Order
from tests.order_svc.conftest import (
    ANN,
    BOB,
    DESK,
    LAMP,
    NOBODY,
    NOTHING,
    left_behind,
    problem,
    raising,
    recover_what_is_pending,
)
from tests.wire import Caller, assert_problem, at_once, somebody_waits_for_a_lock, until

pytestmark = pytest.mark.django_db
REPLAYED = "Idempotent-Replayed"
LAMPS = {"userId": ANN, "productId": LAMP, "quantity": 2}


def without_request_id(answer):
    return {name: value for name, value in answer.json().items() if name != "requestId"}


def assert_replay(answer, first):
    assert answer[REPLAYED] == "true"
    assert answer.status_code == first.status_code
    assert answer["Content-Type"] == first["Content-Type"]
    assert without_request_id(answer) == without_request_id(first)
    for header in ("Location", "ETag", "Retry-After"):
        assert answer.headers.get(header) == first.headers.get(header), header


def test_a_repetition_gets_the_first_answer_and_creates_no_second_order(place, neighbours):
    first = place(key="k-1")
    assert not first.has_header(REPLAYED)
    for _ in range(2):
        assert_replay(place(key="k-1"), first)
    assert Order.objects.count() == 1
    assert left_behind() == (["order.confirmed"], [f"order-{first.json()['id']}-confirmed"])


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ({**LAMPS, "note": "x"}, "row_readers.unknown_members"),
        ('{"userId": 1, "productId": 11, "quantity": 1, "quantity": 2}', "json.judge_repeated"),
    ],
)
def test_a_known_key_gets_its_answer_even_if_a_newer_rule_refuses_the_body(send, neighbours, monkeypatch, body, rule):
    def order(key: str = "k-1") -> Any:
        text = body if isinstance(body, str) else json.dumps(body)
        return send("POST", "/api/orders", text, **{"Idempotency-Key": key})

    with monkeypatch.context() as earlier_version:
        earlier_version.setattr(f"platform_core.api.{rule}", lambda *_: {})
        first = order()
    assert first.status_code == 201
    assert_replay(order(), first)
    assert_problem(order("k-2"), 400, "invalid")
    assert Order.objects.count() == 1


@pytest.mark.parametrize("moves", [["cancel"], ["ship"], ["ship", "deliver"]])
def test_a_repetition_gets_the_first_answer_after_the_order_has_changed(api, place, moves):
    first = place(key="k-1")
    for move in moves:
        assert api.post(f"{first['Location']}/{move}").status_code == 200
    again = place(key="k-1")
    assert again.json()["status"] == "confirmed"
    assert_replay(again, first)
    assert Order.objects.count() == 1


def test_a_repetition_gets_the_first_answer_without_any_peer(place, neighbours):
    first = place(key="k-1")
    neighbours.user_step = neighbours.product_step = raising(requests.exceptions.ConnectionError("refused"))
    assert_replay(place(key="k-1"), first)


def test_a_repetition_gets_the_first_answer_after_the_user_is_deleted(place, neighbours):
    first = place(key="k-1")
    neighbours.users.clear()
    assert_replay(place(key="k-1"), first)


@pytest.mark.parametrize("path", ["/api/orders", "/api/orders/"])
@pytest.mark.parametrize("body", [LAMPS, dict(reversed(LAMPS.items()))], ids=["as it was", "in another sequence"])
def test_equivalent_bodies_count_as_the_same_request(api, place, path, body):
    first = place(key="k-1")
    assert_replay(api.post(path, body, headers={"Idempotency-Key": "k-1"}), first)


@pytest.mark.parametrize(
    "other",
    [
        {**LAMPS, "quantity": 3},
        {**LAMPS, "productId": DESK},
        {**LAMPS, "userId": BOB},
        {**LAMPS, "userId": NOBODY},
        {"userId": ANN, "items": [{"productId": LAMP, "quantity": 2}]},
    ],
)
def test_another_body_with_the_same_key_is_refused_before_anybody_is_asked(place, neighbours, other):
    first = place(key="k-1")
    neighbours.asked.clear()
    assert_problem(place(other, key="k-1"), 422, "idempotency_key_reused")
    assert not neighbours.asked
    assert Order.objects.count() == 1
    assert_replay(place(key="k-1"), first)


def test_other_keys_and_none_are_other_orders(place):
    for key in ("k-1", "K-1", "k-2", None, None):
        answer = place(key=key)
        assert answer.status_code == 201
        assert not answer.has_header(REPLAYED)
    assert Order.objects.count() == 5


@pytest.mark.parametrize("key", ["", "a" * 256, "é", "a\tb"])
def test_a_malformed_key_is_refused(api, neighbours, key):
    answer = api.client.post("/api/orders", LAMPS, format="json", HTTP_IDEMPOTENCY_KEY=key)
    assert_problem(answer, 400, "invalid", ["Idempotency-Key"])
    assert not neighbours.asked


@pytest.mark.parametrize("key", ["a" * 255, "~", " a b ", "'; DROP TABLE", "%00"])
def test_any_printable_key_is_accepted(api, neighbours, key):
    answers = [api.client.post("/api/orders", LAMPS, format="json", HTTP_IDEMPOTENCY_KEY=key) for _ in range(2)]
    assert_replay(answers[1], answers[0])


def test_a_duplicate_of_a_running_request_gets_409_with_retry_after(place, neighbours):
    twins = []

    def twin_arrives(request):
        neighbours.product_step = neighbours.reserve
        twins.append(place(key="k-1"))
        return neighbours.reserve(request)

    neighbours.product_step = twin_arrives
    first = place(key="k-1")
    (twin,) = twins
    assert_problem(twin, 409, "idempotency_in_progress")
    assert int(twin["Retry-After"]) >= 1
    assert first.status_code == 201
    assert Order.objects.count() == 1
    assert_replay(place(key="k-1"), first)


@pytest.mark.django_db(transaction=True)
def test_a_duplicate_that_overtakes_the_first_request_places_the_order(place, neighbours):
    """Both requests found the key unused and have called user-service. One of them creates the order."""
    twins = []

    def twin_arrives(request):
        neighbours.user_step = neighbours.know_user
        twins.append(place(key="k-1"))
        return neighbours.know_user(request)

    neighbours.user_step = twin_arrives
    assert_problem(place(key="k-1"), 409, "idempotency_in_progress")
    assert Order.objects.count() == 1
    assert_replay(place(key="k-1"), twins[0])


@pytest.mark.parametrize("product, code", [(LAMP, "insufficient_stock"), (NOTHING, "unknown_product")])
def test_a_refusal_by_a_rule_is_stored_for_its_key(place, neighbours, product, code):
    neighbours.stock = {LAMP: 1}
    items = [{"productId": DESK, "quantity": 1}, {"productId": product, "quantity": 2}]
    body = {"userId": ANN, "items": [*items, items[1]]}
    first = place(body, key="k-1")
    assert first.json()["code"] == code
    assert first.json()["errors"][0]["field"] == "items[1]"
    neighbours.stock, neighbours.catalog[NOTHING] = {}, ("Something", "1")
    for _ in range(2):
        assert_replay(place(body, key="k-1"), first)
    assert_problem(place({**body, "userId": BOB}, key="k-1"), 422, "idempotency_key_reused")
    assert Order.objects.count() == 1
    assert place(body, key="another").status_code == 201


def test_a_request_that_fails_validation_does_not_use_its_key(place, neighbours):
    assert_problem(place(key="k-1", quantity=0), 400, "invalid")
    assert_problem(place(key="k-1", userId=NOBODY), 422, "unknown_user")
    answer = place(key="k-1")
    assert answer.status_code == 201
    assert not answer.has_header(REPLAYED)


@pytest.mark.parametrize("step", ["user_step", "product_step"])
def test_after_a_503_the_key_may_be_used_with_another_body(place, neighbours, step):
    setattr(neighbours, step, lambda request: problem(503, "unavailable"))
    assert_problem(place(key="k-1"), 503, "unavailable")
    neighbours.user_step, neighbours.product_step = neighbours.know_user, neighbours.reserve
    assert place(key="k-1", quantity=5).status_code == 201


def test_recovery_frees_the_key_of_a_request_that_died(place, neighbours):
    def dies(request):
        raise KeyboardInterrupt  # the process is gone: nothing tidies up

    neighbours.product_step = dies
    with pytest.raises(KeyboardInterrupt):
        place(key="k-1")
    neighbours.product_step = neighbours.reserve
    assert_problem(place(key="k-1"), 409, "idempotency_in_progress")
    recover_what_is_pending()
    answer = place(key="k-1")
    assert answer.status_code == 201
    assert not answer.has_header(REPLAYED)
    assert sorted(Order.objects.values_list("status", flat=True)) == ["confirmed", "rejected"]


def test_a_slow_first_request_changes_nothing_after_its_duplicate_placed_the_order(place, neighbours):
    """Recovery freed the key, the duplicate used it, and then product-service answers the first request."""
    twins = []

    def late(request):
        neighbours.product_step = neighbours.reserve
        recover_what_is_pending()
        twins.append(place(key="k-1"))
        return neighbours.reserve(request)

    neighbours.product_step = late
    assert_problem(place(key="k-1"), 503, "unavailable")
    assert twins[0].status_code == 201
    assert_replay(place(key="k-1"), twins[0])
    assert Order.objects.filter(status="confirmed").count() == 1


@pytest.mark.django_db(transaction=True)
def test_concurrent_duplicates_create_one_order(place):
    answers = at_once([lambda: place(key="k-1")] * 6)
    made = [answer for answer in answers if answer.status_code == 201]
    assert len([answer for answer in made if not answer.has_header(REPLAYED)]) == 1
    assert len({answer.json()["id"] for answer in made}) == 1
    for answer in answers:
        if answer not in made:
            assert_problem(answer, 409, "idempotency_in_progress")
            assert answer["Retry-After"]
    assert Order.objects.count() == 1
    assert left_behind()[0] == ["order.confirmed"]


@pytest.mark.django_db(transaction=True)
def test_a_concurrent_duplicate_does_not_wait_for_the_first_transaction(place):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT last_value + is_called::int FROM order_svc_order_id_seq")
        ((following,),) = cursor.fetchall()
        Order.objects.create(pk=following, user_id=1, currency="USD")  # on this the first one's insert waits
        first = Caller(lambda: place(key="k-1"))
        until(somebody_waits_for_a_lock)
        assert_problem(Caller(lambda: place(key="k-1")).answer(), 409, "idempotency_in_progress")
        transaction.set_rollback(True)
    assert first.answer().status_code == 201


@pytest.mark.parametrize("move", ["cancel", "ship"])
def test_a_repeated_move_with_a_key_gets_the_first_answer(api, placed, move):
    path, headers = f"/api/orders/{placed['id']}/{move}", {"Idempotency-Key": "k-1"}
    first = api.post(path, headers=headers)
    assert first.status_code == 200
    assert_replay(api.post(path, headers=headers), first)
    other = {"cancel": "ship", "ship": "cancel"}[move]
    assert_problem(api.post(f"/api/orders/{placed['id']}/{other}", headers=headers), 422, "idempotency_key_reused")


def test_a_repeated_refused_move_with_a_key_gets_the_first_refusal(api, placed):
    path, headers = f"/api/orders/{placed['id']}/deliver", {"Idempotency-Key": "k-1"}
    first = api.post(path, headers=headers)
    assert_problem(first, 409, "invalid_transition")
    api.post(f"/api/orders/{placed['id']}/ship")
    assert_replay(api.post(path, headers=headers), first)
    assert api.get(f"/api/orders/{placed['id']}").json()["status"] == "shipped"


def test_a_repetition_after_a_change_of_the_secret_key_gets_the_first_order(place, settings):
    first = place(key="k-1")
    settings.SECRET_KEY = "another key of fifty characters and more, for sure it is"
    again = place(key="k-1")
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    assert_problem(place(key="k-1", quantity=3), 422, "idempotency_key_reused")
