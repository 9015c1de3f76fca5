"""PUT and GET /api/stock-reservations/{orderId}."""

import json
import time
from contextlib import contextmanager, nullcontext

import psycopg
import pytest
from django.db import IntegrityError, transaction

from platform_core.events.models import Event
from product_svc import reservations, services
from product_svc.models import Product, StockReservation
from product_svc.reservations import reserve as reserve_stock
from tests.wire import Caller, assert_problem, at_once, somebody_waits_for_a_lock, until

pytestmark = pytest.mark.django_db
URL = "/api/stock-reservations/7"


@pytest.fixture
def box(add) -> dict:
    return add(name="Box", price="1.50", stock=2)


def test_a_new_one_is_201_and_the_same_again_200(api, lamp, box, reserve, stock, books_balance):
    pieces = {lamp["id"]: 2, box["id"]: 1}
    first = reserve(7, pieces)
    assert first.status_code == 201
    assert first.json() == {
        "orderId": "7",
        "status": "reserved",
        "currency": "USD",
        "items": [
            {"productId": lamp["id"], "name": "Desk lamp", "unitPrice": 49.9, "quantity": 2},
            {"productId": box["id"], "name": "Box", "unitPrice": 1.5, "quantity": 1},
        ],
    }
    assert b'"unitPrice":49.90' in first.content
    for _ in range(2):
        again = reserve(7, pieces)
        assert again.status_code == 200
        assert again.json() == first.json()
    assert api.get(URL).json() == first.json()
    assert (stock(lamp), stock(box)) == (3, 1)
    assert books_balance()


def test_it_keeps_the_name_and_price_of_the_moment(api, lamp, reserve):
    first = reserve(7, {lamp["id"]: 1})
    api.put(f"/api/products/{lamp['id']}", {"name": "Dearer lamp", "price": 999})
    assert api.get(URL).json() == reserve(7, {lamp["id"]: 1}).json() == first.json()


def test_the_same_in_another_order_or_split_is_the_same(api, lamp, box, reserve):
    reserve(7, {lamp["id"]: 2, box["id"]: 1})
    assert reserve(7, {box["id"]: 1, lamp["id"]: 2}).status_code == 200
    split = [{"productId": p["id"], "quantity": 1} for p in (lamp, box, lamp)]
    assert api.put(URL, {"items": split}).status_code == 200


def test_items_of_one_product_are_summed(api, lamp, stock, books_balance):
    item = {"productId": lamp["id"], "quantity": 2}
    answer = api.put(URL, {"items": [item, item]})
    assert answer.status_code == 201
    assert [line["quantity"] for line in answer.json()["items"]] == [4]
    assert stock(lamp) == 1
    assert_problem(api.put("/api/stock-reservations/8", {"items": [item, item]}), 409, "insufficient_stock")
    assert books_balance()


def test_an_id_may_be_a_number(api, lamp):
    answer = api.put(URL, {"items": [{"productId": int(lamp["id"]), "quantity": 1}]})
    assert answer.status_code == 201
    assert answer.json()["items"][0]["productId"] == lamp["id"]


@pytest.mark.parametrize("quantity", [6, 7, 100_000_000])
def test_more_than_the_stock_is_refused(api, lamp, reserve, stock, quantity):
    (error,) = assert_problem(reserve(7, {lamp["id"]: quantity}), 409, "insufficient_stock")
    assert error["field"] == "items[0]"
    assert error["code"] == "insufficient_stock"
    assert error["productId"] == lamp["id"]
    assert error["requested"] == quantity
    assert error["available"] == 5
    assert stock(lamp) == 5
    assert_problem(api.get(URL), 404, "not_found")
    assert reserve(7, {lamp["id"]: 5}).status_code == 201


def test_all_is_reserved_or_nothing(api, add, lamp, box, reserve, stock):
    other = add(stock=0)
    errors = assert_problem(reserve(7, {lamp["id"]: 1, box["id"]: 3, other["id"]: 1}), 409, "insufficient_stock")
    assert [(e["field"], e["productId"], e["requested"], e["available"]) for e in errors] == [
        ("items[1]", box["id"], 3, 2),
        ("items[2]", other["id"], 1, 0),
    ]
    assert (stock(lamp), stock(box), stock(other)) == (5, 2, 0)
    assert Event.objects.filter(type="stock.changed").count() == 0


def test_the_errors_count_the_items_as_they_were_sent(api, lamp, box):
    items = [{"productId": p["id"], "quantity": q} for p, q in ((lamp, 1), (lamp, 1), (box, 1), (box, 2))]
    (error,) = assert_problem(api.put(URL, {"items": items}), 409, "insufficient_stock")
    assert (error["field"], error["requested"], error["available"]) == ("items[2]", 3, 2)


def test_a_product_that_is_not_there_is_unknown(api, lamp, reserve, stock):
    missing = int(lamp["id"]) + 1000
    (error,) = assert_problem(reserve(7, {lamp["id"]: 1, missing: 1}), 422, "unknown_product")
    assert error["field"] == "items[1]"
    assert error["productId"] == str(missing)
    assert stock(lamp) == 5
    assert_problem(api.get(URL), 404, "not_found")


@pytest.mark.parametrize("product_id", ["0", "9223372036854775807"])
def test_an_id_that_nothing_has_is_unknown(reserve, product_id):
    assert_problem(reserve(7, {product_id: 1}), 422, "unknown_product", ["items[0]"])


def test_a_deleted_product_is_unknown(api, lamp, reserve):
    api.delete(f"/api/products/{lamp['id']}")
    assert_problem(reserve(7, {lamp["id"]: 1}), 422, "unknown_product", ["items[0]"])


@pytest.mark.parametrize("other", ["more", "less", "another", "additional"])
def test_other_items_than_before_are_a_conflict(lamp, box, reserve, stock, other):
    reserve(7, {lamp["id"]: 2})
    items = {
        "more": {lamp["id"]: 3},
        "less": {lamp["id"]: 1},
        "another": {box["id"]: 2},
        "additional": {lamp["id"]: 2, box["id"]: 1},
    }
    assert_problem(reserve(7, items[other]), 409, "reservation_conflict")
    assert (stock(lamp), stock(box)) == (3, 2)


def test_a_released_reservation_cannot_be_made_again(api, lamp, box, reserve, stock):
    reserve(7, {lamp["id"]: 2})
    api.delete(URL)
    for pieces in ({lamp["id"]: 2}, {box["id"]: 1}, {lamp["id"]: 99}, {"0": 1}):
        assert_problem(reserve(7, pieces), 409, "reservation_released")
    assert stock(lamp) == 5


@pytest.mark.parametrize(
    "body",
    [
        *(
            "{}",
            "[]",
            "null",
            '"x"',
            '{"items": null}',
            '{"items": []}',
            '{"items": {}}',
            '{"items": "x"}',
            '{"items": 5}',
        ),
        *('{"items": [null]}', '{"items": [5]}', '{"items": [[]]}', '{"items": [{}]}', '{"items": {"0": {}}}'),
        '{"lines": [{"productId": "1", "quantity": 1}]}',
        json.dumps({"items": [{"productId": "1", "quantity": 1}] * 101}),
        *('{"items": [{"productId": "1"}]}', '{"items": [{"quantity": 1}]}'),
    ],
)
def test_items_must_be_a_list_of_1_to_100(send, body):
    errors = assert_problem(send("PUT", URL, body), 400, "invalid")
    assert errors
    assert not StockReservation.objects.exists()


@pytest.mark.parametrize(
    "written",
    [
        *("0", "-1", "1.5", "true", "null", "[]", "{}", '"x"', '""', '"1_0"', "100000001", "1" * 4000, "1e400", "NaN"),
        *("1e999999999999999", '"\u0661"', "1" * 5000),
    ],
)
def test_another_quantity_is_refused_by_its_place(send, lamp, written):
    fine = f'{{"productId": "{lamp["id"]}", "quantity": 1}}'
    answer = send("PUT", URL, f'{{"items": [{fine}, {{"productId": "{lamp["id"]}", "quantity": {written}}}]}}')
    errors = assert_problem(answer, 400, "invalid")
    if errors:
        assert [error["field"] for error in errors] == ["items[1].quantity"]
    assert not StockReservation.objects.exists()


@pytest.mark.parametrize(
    "written",
    [
        *(
            "-1",
            "1.0",
            "1.5",
            "true",
            "null",
            "[]",
            "{}",
            '"x"',
            '""',
            '"-1"',
            '" 1"',
            '"1 "',
            '"1.0"',
            '"\u0661"',
            '"1_0"',
        ),
        *(
            "9223372036854775808",
            '"9223372036854775808"',
            "1" * 4000,
            '"' + "1" * 5000 + '"',
            "1e3",
            '"0x1"',
            '"1\\u0000"',
        ),
        *("1" * 5000, "NaN"),
    ],
)
def test_another_product_id_is_refused_by_its_place(send, written):
    answer = send("PUT", URL, f'{{"items": [{{"productId": {written}, "quantity": 1}}]}}')
    errors = assert_problem(answer, 400, "invalid")
    if errors:
        assert [error["field"] for error in errors] == ["items[0].productId"]
    assert not StockReservation.objects.exists()


def test_read_only_fields_may_be_sent_back_and_have_no_effect(api, lamp, stock):
    item = {"productId": lamp["id"], "quantity": 1, "unitPrice": 0, "name": "Free"}
    answer = api.put(URL, {"items": [item], "orderId": "8", "status": "released"})
    assert answer.json()["orderId"] == "7"
    assert answer.json()["status"] == "reserved"
    assert answer.json()["items"][0] == {"productId": lamp["id"], "name": "Desk lamp", "unitPrice": 49.9, "quantity": 1}


def test_a_reservation_that_may_only_be_created_is_refused_if_it_exists(api, lamp, stock, reserve):
    body, only_new = {"items": [{"productId": lamp["id"], "quantity": 1}]}, {"If-None-Match": "*"}
    assert api.put(URL, body, headers=only_new).status_code == 201
    assert_problem(api.put(URL, body, headers=only_new), 412, "precondition_failed")
    assert api.put(URL, body).status_code == 200
    api.delete(URL)
    assert_problem(api.put(URL, body, headers=only_new), 412, "precondition_failed")
    assert stock(lamp) == 5


def test_a_twin_that_reserves_first_makes_the_other_one_fail(api, lamp, monkeypatch):
    body, only_new = {"items": [{"productId": lamp["id"], "quantity": 1}]}, {"If-None-Match": "*"}

    def after_a_twin(*args):
        reserve_stock(*args)
        return reserve_stock(*args)

    monkeypatch.setattr(reservations, "reserve", after_a_twin)
    assert_problem(api.put(URL, body, headers=only_new), 412, "precondition_failed")


def test_unknown_members_are_refused(api, lamp, stock):
    item = {"productId": lamp["id"], "quantity": 1, "unit_price": "0"}
    errors = assert_problem(
        api.put(URL, {"items": [item], "order_id": 8}), 400, "invalid", ["items[0].unit_price", "order_id"]
    )
    assert {error["code"] for error in errors} == {"unknown_field"}
    assert stock(lamp) == 5


def test_a_hundred_products_can_be_reserved_together(add, reserve, stock, books_balance):
    products = [add(stock=1) for _ in range(100)]
    answer = reserve(7, {product["id"]: 1 for product in reversed(products)})
    assert answer.status_code == 201
    assert [line["productId"] for line in answer.json()["items"]] == [product["id"] for product in reversed(products)]
    assert books_balance()


@pytest.mark.parametrize("order_id", ["0", "1", "9223372036854775807", "007"])
def test_any_order_id_is_accepted(api, lamp, reserve, order_id):
    assert reserve(order_id, {lamp["id"]: 1}).json()["orderId"] == str(int(order_id))
    assert api.get(f"/api/stock-reservations/{order_id}").status_code == 200


def test_an_unknown_reservation_is_404(api):
    assert_problem(api.get(URL), 404, "not_found")


def test_it_has_an_etag_that_changes_with_the_release(api, lamp, reserve):
    tag = reserve(7, {lamp["id"]: 1})["ETag"]
    assert api.get(URL)["ETag"] == tag
    unchanged = api.get(URL, headers={"If-None-Match": tag})
    assert (unchanged.status_code, unchanged.content, unchanged["ETag"]) == (304, b"", tag)
    api.delete(URL)
    changed = api.get(URL, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed["ETag"] != tag


def test_if_match_holds_for_reservations_too(api, lamp, reserve, stock):
    body = {"items": [{"productId": lamp["id"], "quantity": 1}]}
    tag = reserve(7, {lamp["id"]: 1})["ETag"]
    for stale in ('"released"', '"1"', "garbage", f"W/{tag}"):
        assert_problem(api.put(URL, body, headers={"If-Match": stale}), 412, "precondition_failed")
        assert_problem(api.delete(URL, headers={"If-Match": stale}), 412, "precondition_failed")
    assert api.put(URL, body, headers={"If-Match": tag}).status_code == 200
    assert api.put(URL, body, headers={"If-Match": "*"}).status_code == 200
    assert stock(lamp) == 4
    assert api.delete(URL, headers={"If-Match": tag}).status_code == 204
    assert_problem(api.delete(URL, headers={"If-Match": tag}), 412, "precondition_failed")
    assert_problem(api.put("/api/stock-reservations/8", body, headers={"If-Match": tag}), 412, "precondition_failed")
    assert stock(lamp) == 5


def test_work_that_exceeds_the_deadline_is_rolled_back(api, lamp, stock):
    body = {"items": [{"productId": lamp["id"], "quantity": 1}]}
    answer = api.put(URL, body, headers={"X-Request-Timeout": "0.0000001"})
    assert_problem(answer, 503, "deadline_exceeded")
    assert stock(lamp) == 5
    assert_problem(api.get(URL), 404, "not_found")


@pytest.mark.django_db(transaction=True)
def test_twenty_concurrent_reservations_of_the_last_five_get_five(lamp, reserve, stock, books_balance):
    answers = at_once(lambda n=n: reserve(n, {lamp["id"]: 1}) for n in range(20))
    assert sorted(answer.status_code for answer in answers) == [201] * 5 + [409] * 15
    for answer in answers:
        if answer.status_code == 409:
            (error,) = assert_problem(answer, 409, "insufficient_stock")
            assert error["available"] == 0
    assert stock(lamp) == 0
    assert books_balance()
    assert StockReservation.objects.count() == 5


@pytest.mark.django_db(transaction=True)
def test_the_same_order_many_times_at_the_same_moment_takes_stock_once(lamp, reserve, stock, books_balance):
    answers = at_once([lambda: reserve(7, {lamp["id"]: 2})] * 12)
    assert sorted(answer.status_code for answer in answers) == [200] * 11 + [201]
    assert len({answer.content for answer in answers}) == 1
    assert stock(lamp) == 3
    assert books_balance()


@pytest.mark.django_db(transaction=True)
def test_orders_that_want_the_same_in_opposite_order_do_not_block_each_other(add, reserve, stock, books_balance):
    products = [add(stock=1000) for _ in range(4)]

    def order(number: int):
        sequence = products if number % 2 else list(reversed(products))
        return [
            reserve(number * 100 + turn, {product["id"]: 1 for product in sequence}).status_code for turn in range(6)
        ]

    answers = at_once(lambda n=n: order(n) for n in range(10))
    assert answers == [[201] * 6] * 10
    assert [stock(product) for product in products] == [1000 - 60] * 4
    assert books_balance()


@pytest.mark.django_db(transaction=True)
def test_reserves_and_releases_of_many_products_do_not_block_each_other(api, add, reserve, stock, books_balance):
    products = [add(stock=1000) for _ in range(3)]

    def order(number: int):
        sequence = products if number % 2 else list(reversed(products))
        for turn in range(4):
            reserved = reserve(number * 100 + turn, {product["id"]: 2 for product in sequence})
            released = api.delete(f"/api/stock-reservations/{number * 100 + turn}")
            adjusted = api.post(f"/api/products/{sequence[0]['id']}/stock-adjustments", {"delta": 1})
            yield reserved.status_code, released.status_code, adjusted.status_code

    answers = at_once(lambda n=n: list(order(n)) for n in range(8))
    assert answers == [[(201, 204, 201)] * 4] * 8
    assert [stock(product) for product in products] == [1016, 1000, 1016]
    assert books_balance()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("before, meanwhile, status, left", [(5, 1, 409, 1), (1, 5, 201, 3), (2, 9, 201, 7)])
def test_a_waiting_reservation_uses_the_stock_after_the_wait(lamp, reserve, stock, before, meanwhile, status, left):
    """The stock at the start of the wait does not matter."""
    Product.objects.filter(pk=lamp["id"]).update(stock=before)
    with transaction.atomic():
        Product.objects.filter(pk=lamp["id"]).update(stock=meanwhile)
        waiting = Caller(lambda: reserve(7, {lamp["id"]: 2}))
        until(somebody_waits_for_a_lock)
    assert waiting.answer().status_code == status
    assert stock(lamp) == left


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("outer", [nullcontext, transaction.atomic], ids=["alone", "inside of a transaction"])
def test_stock_that_arrives_during_the_wait_can_be_had(add, stock, books_balance, outer):
    """The statement first tests the row from before the wait, and the CHECK refuses it. So it must be repeated."""
    product = add(stock=0)

    def reserve_five():
        with outer():
            reserved = reservations.reserve(7, [(int(product["id"]), 5)])
            return reserved.is_new, StockReservation.objects.count()

    with transaction.atomic():
        services.adjust_stock(int(product["id"]), 10)
        waiting = Caller(reserve_five)
        until(somebody_waits_for_a_lock)
    assert waiting.answer() == (True, 1)
    assert stock(product) == 5
    assert books_balance()
    assert Event.objects.filter(type="stock.changed").latest("id").data["stock"] == 5


@pytest.mark.django_db(transaction=True)
def test_a_product_deleted_during_a_wait_is_unknown(api, lamp, reserve):
    with transaction.atomic():
        api.delete(f"/api/products/{lamp['id']}")
        waiting = Caller(lambda: reserve(7, {lamp["id"]: 2}))
        until(somebody_waits_for_a_lock)
    assert_problem(waiting.answer(), 422, "unknown_product")
    assert not StockReservation.objects.exists()


def test_a_broken_constraint_leaves_the_transaction_of_the_caller_usable(lamp, stock):
    product_id = int(lamp["id"])
    with transaction.atomic():
        with pytest.raises(IntegrityError):
            reserve_stock(1, [(product_id, 0)])
        assert reserve_stock(1, [(product_id, 2)]).is_new
    assert stock(lamp) == 3


def test_the_newest_reservation_is_that_of_the_highest_order_id_also_if_it_was_released(api, lamp, reserve):
    assert api.get("/api/stock-reservations/newest").json() == {"orderId": None}
    for order in (9, 100, 7):
        assert reserve(order, {lamp["id"]: 1}).status_code == 201
    api.delete("/api/stock-reservations/100")
    assert api.get("/api/stock-reservations/newest").json() == {"orderId": "100"}


@contextmanager
def locked(product: dict):
    """Another transaction holds the row of the product, as a large change of the catalog does."""
    with psycopg.connect(**raw_parameters()) as other:
        other.execute("SELECT FROM product_svc_product WHERE id = %s FOR UPDATE", [product["id"]])
        yield


def raw_parameters() -> dict:
    from django.db import connection

    known = connection.get_connection_params()
    return {name: known[name] for name in ("dbname", "user", "host", "port", "password") if name in known}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("seconds", [1.0, 3.0])
def test_who_waits_for_a_product_that_is_held_is_asked_to_come_back_before_the_deadline(
    api, lamp, stock, books_balance, seconds
):
    """Three in the queue: Postgres makes each wait for its place in it, and the first for the row as well."""
    body = {"items": [{"productId": lamp["id"], "quantity": 1}]}

    def timed(number: int):
        began = time.monotonic()
        headers = {"X-Request-Timeout": str(seconds)}
        answer = api.put(f"/api/stock-reservations/{number}", body, headers=headers)
        return answer, time.monotonic() - began

    with locked(lamp):
        answers = at_once(lambda n=n: timed(n) for n in range(3))
    for answer, took in answers:
        assert_problem(answer, 503, "unavailable")
        assert answer["Retry-After"] == "1"
        assert seconds * 0.25 < took < seconds
    assert stock(lamp) == 5
    retried = [api.put(f"/api/stock-reservations/{number}", body).status_code for number in range(3)]
    assert retried == [201] * 3
    assert stock(lamp) == 2
    assert books_balance()


@pytest.mark.django_db(transaction=True)
def test_a_short_wait_for_a_product_is_no_refusal(lamp, reserve, stock, books_balance):
    with locked(lamp):
        waiting = Caller(lambda: reserve(7, {lamp["id"]: 1}))
        until(somebody_waits_for_a_lock)
        time.sleep(0.5)
    assert waiting.answer().status_code == 201
    assert stock(lamp) == 4
    assert books_balance()


@pytest.mark.django_db(transaction=True)
def test_the_limit_of_lock_waits_does_not_stay_in_the_session(lamp, reserve):
    from django.db import connection

    reserve(7, {lamp["id"]: 1})
    reservations.release(7)
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("0",)


@pytest.mark.django_db(transaction=True)
def test_a_refusal_names_in_the_log_what_it_waited_for(api, lamp, caplog):
    body = {"items": [{"productId": lamp["id"], "quantity": 1}]}
    with locked(lamp):
        assert api.put(URL, body, headers={"X-Request-Timeout": "0.5"}).status_code == 503
    (line,) = [record for record in caplog.records if record.getMessage() == "unavailable"]
    assert line.data["cause"].startswith("LockNotAvailable: canceling statement due to lock timeout")
