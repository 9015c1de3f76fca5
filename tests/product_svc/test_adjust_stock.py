"""POST and GET /api/products/{id}/stock-adjustments."""

import json

import pytest

from platform_core.events.models import Event
from product_svc.models import Product, StockMovement
from tests.wire import assert_problem, at_once

pytestmark = pytest.mark.django_db
MAX = 2147483647


@pytest.fixture
def url(lamp) -> str:
    return f"/api/products/{lamp['id']}/stock-adjustments"


@pytest.mark.parametrize("delta, left", [(-3, 2), (-5, 0), (1, 6), (MAX - 5, MAX)])
@pytest.mark.parametrize("reason", ["", "broken"])
def test_it_answers_201_with_the_movement_and_the_new_stock(api, lamp, url, stock, books_balance, delta, left, reason):
    answer = api.post(url, {"delta": delta, "reason": reason})
    assert answer.status_code == 201
    movement = answer.json()
    assert (movement["delta"], movement["stock"], movement["reason"]) == (delta, left, reason)
    assert movement["productId"] == lamp["id"]
    assert isinstance(movement["id"], str)
    assert movement["createdAt"].endswith("Z")
    assert stock(lamp) == left
    assert books_balance()


def test_the_reason_may_be_left_out(api, url):
    assert api.post(url, {"delta": 1}).json()["reason"] == ""
    assert api.post(url, {"delta": 1, "reason": None}).json()["reason"] == ""


@pytest.mark.parametrize("delta", [-6, -7, -MAX])
def test_the_stock_cannot_fall_below_0(api, lamp, url, stock, delta):
    (error,) = assert_problem(api.post(url, {"delta": delta}), 409, "insufficient_stock")
    assert (error["code"], error["requested"], error["available"]) == ("insufficient_stock", -delta, 5)
    assert error["productId"] == lamp["id"]
    assert stock(lamp) == 5
    assert StockMovement.objects.count() == 1


def test_the_stock_cannot_rise_above_its_bound(api, lamp, url, stock):
    answer = api.post(url, {"delta": MAX})
    assert answer.status_code == 409
    assert_problem(answer, 409, answer.json()["code"])
    assert stock(lamp) == 5
    assert StockMovement.objects.count() == 1


@pytest.mark.parametrize(
    "written",
    [
        *("0", "-0", "0.0", "1.5", "true", "null", "[]", "{}", '"abc"', '""', '"1_0"', '"\u0661"', "1e400", "-1e400"),
        *(str(MAX + 1), str(-MAX - 1), "1" * 30, "1" * 4000, "1" * 5000, "NaN", "1e999999999999999", "0.1e1000000000"),
    ],
)
def test_any_other_delta_is_refused(send, url, written):
    assert_problem(send("POST", url, f'{{"delta": {written}}}'), 400, "invalid")
    assert StockMovement.objects.count() == 1


@pytest.mark.parametrize("body", [{}, {"reason": "x"}, [], "x", 5, None])
def test_a_delta_is_required(send, url, body):
    assert_problem(send("POST", url, json.dumps(body)), 400, "invalid")


@pytest.mark.parametrize("reason", ["x" * 201, 5, True, [], {}, "a\x00b"])
def test_another_reason_is_refused(api, url, reason):
    assert_problem(api.post(url, {"delta": 1, "reason": reason}), 400, "invalid", ["reason"])


def test_read_only_fields_cannot_be_sent(api, lamp, url, books_balance):
    sent = {"delta": 1, "id": "77", "productId": "0", "kind": "initial", "orderId": "9", "stock": 99, "createdAt": "x"}
    errors = assert_problem(api.post(url, sent), 400, "invalid", sent.keys() - {"delta"})
    assert {error["code"] for error in errors} == {"unknown_field"}
    assert books_balance()


@pytest.mark.parametrize("method", ["get", "post"])
def test_movements_of_a_missing_product_are_404(api, url, method):
    body = [{"delta": 1}] if method == "post" else []
    assert_problem(getattr(api, method)("/api/products/0/stock-adjustments", *body), 404, "not_found")
    assert_problem(
        getattr(api, method)(f"/api/products/{Product.objects.get().pk + 1}/stock-adjustments", *body), 404, "not_found"
    )


@pytest.mark.parametrize("stock", [0, 5])
def test_movements_of_a_deleted_product_are_404(api, add, stock):
    url = f"/api/products/{add(stock=stock)['id']}"
    api.delete(url)
    assert_problem(api.get(f"{url}/stock-adjustments"), 404, "not_found")
    assert_problem(api.post(f"{url}/stock-adjustments", {"delta": 1}), 404, "not_found")


def test_every_movement_is_listed_newest_first(api, lamp, url, reserve):
    api.post(url, {"delta": -1, "reason": "broken"})
    reserve(42, {lamp["id"]: 2})
    api.delete("/api/stock-reservations/42")
    api.patch(f"/api/products/{lamp['id']}", {"stock": 9})
    answer = api.get(url).json()
    assert set(answer) == {"results", "next", "previous"}
    assert [(m["delta"], m["kind"], m["orderId"], m["stock"]) for m in answer["results"]] == [
        (5, "adjustment", None, 9),
        (2, "release", "42", 4),
        (-2, "reservation", "42", 2),
        (-1, "adjustment", None, 4),
        (5, "initial", None, 5),
    ]


def test_a_new_product_has_no_movements(api, add):
    answer = api.get(f"/api/products/{add()['id']}/stock-adjustments")
    assert answer.json() == {"results": [], "next": None, "previous": None}


def test_the_movements_of_others_are_not_listed_and_pages_turn(api, add, url):
    other = add(stock=3)
    for _ in range(4):
        api.post(url, {"delta": 1})
    seen, following = [], f"{url}?limit=2"
    while following and len(seen) < 100:
        page = api.get(following).json()
        seen += [movement["stock"] for movement in page["results"]]
        following = page["next"]
    assert seen == [9, 8, 7, 6, 5]
    assert len(api.get(f"/api/products/{other['id']}/stock-adjustments").json()["results"]) == 1


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "cursor=x", "kind=initial"])
def test_a_malformed_query_is_refused(api, url, query):
    assert_problem(api.get(f"{url}?{query}"), 400, "invalid", [query.split("=")[0]])


def test_an_adjustment_with_a_key_is_made_once(api, lamp, url, stock):
    first = api.post(url, {"delta": -3}, headers={"Idempotency-Key": "k"})
    again = api.post(url, {"delta": -3}, headers={"Idempotency-Key": "k"})
    assert again.content == first.content
    assert again["Idempotent-Replayed"] == "true"
    assert stock(lamp) == 2


def test_a_refused_adjustment_with_a_key_stays_refused(api, lamp, url, stock):
    first = api.post(url, {"delta": -6}, headers={"Idempotency-Key": "k"})
    api.post(url, {"delta": 10})
    again = api.post(url, {"delta": -6}, headers={"Idempotency-Key": "k"})
    assert again.status_code == 409
    assert again.content == first.content
    assert again["Idempotent-Replayed"] == "true"
    assert stock(lamp) == 15


def test_a_key_is_not_kept_for_a_product_that_is_not_there(api, add):
    pk = add()["id"]
    missing = f"/api/products/{int(pk) + 1}/stock-adjustments"
    assert_problem(api.post(missing, {"delta": 1}, headers={"Idempotency-Key": "k"}), 404, "not_found")
    later = api.post(f"/api/products/{pk}/stock-adjustments", {"delta": 1}, headers={"Idempotency-Key": "k"})
    assert later.status_code == 201


def test_a_key_of_another_route_is_refused(api, add, url):
    body = {"delta": 1}
    assert api.post(url, body, headers={"Idempotency-Key": "k"}).status_code == 201
    other = f"/api/products/{add()['id']}/stock-adjustments"
    for path in (other, "/api/products"):
        answer = api.post(path, body, headers={"Idempotency-Key": "k"})
        assert_problem(answer, 422, "idempotency_key_reused")
    assert api.post(url + "/", body, headers={"Idempotency-Key": "k"})["Idempotent-Replayed"] == "true"


@pytest.mark.django_db(transaction=True)
def test_twenty_concurrent_adjustments_of_the_last_five_take_five(api, lamp, url, stock, books_balance):
    answers = at_once([lambda: api.post(url, {"delta": -1})] * 20)
    assert sorted(answer.status_code for answer in answers) == [201] * 5 + [409] * 15
    assert sorted(answer.json()["stock"] for answer in answers if answer.status_code == 201) == [0, 1, 2, 3, 4]
    assert stock(lamp) == 0
    assert books_balance()
    assert Event.objects.filter(type="stock.changed").count() == 5
