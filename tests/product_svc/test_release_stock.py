"""DELETE /api/stock-reservations/{orderId}."""

import pytest
from django.db import transaction

from platform_core.events.models import Event
from product_svc.models import Product, StockReservation
from tests.wire import Caller, assert_problem, at_once, somebody_waits_for_a_lock, until

pytestmark = pytest.mark.django_db
URL = "/api/stock-reservations/7"


def test_repeated_releases_return_the_stock_once(api, add, lamp, reserve, stock, books_balance):
    box = add(stock=9)
    reserve(7, {lamp["id"]: 2, box["id"]: 9})
    for _ in range(3):
        answer = api.delete(URL)
        assert answer.status_code == 204
        assert answer.content == b""
        assert (stock(lamp), stock(box)) == (5, 9)
    assert books_balance()
    assert Event.objects.filter(type="stock.changed", data__reason="release").count() == 2


def test_a_released_reservation_still_shows_its_items(api, lamp, reserve):
    reserved = reserve(7, {lamp["id"]: 2}).json()
    api.delete(URL)
    assert api.get(URL).json() == {**reserved, "status": "released"}


def test_a_release_of_an_unknown_order_refuses_a_later_reserve(api, lamp, reserve, stock):
    for _ in range(2):
        assert api.delete(URL).status_code == 204
    released = {"orderId": "7", "status": "released", "currency": "USD", "items": []}
    assert api.get(URL).json() == released
    assert_problem(reserve(7, {lamp["id"]: 1}), 409, "reservation_released")
    assert stock(lamp) == 5
    assert Event.objects.filter(type="stock.changed").count() == 0


def test_other_orders_keep_theirs(api, lamp, reserve, stock):
    reserve(7, {lamp["id"]: 2})
    reserve(8, {lamp["id"]: 1})
    api.delete(URL)
    assert stock(lamp) == 4
    assert api.get("/api/stock-reservations/8").json()["status"] == "reserved"


def test_released_stock_can_be_reserved_again(api, lamp, reserve):
    reserve(7, {lamp["id"]: 5})
    assert reserve(8, {lamp["id"]: 1}).status_code == 409
    api.delete(URL)
    assert reserve(8, {lamp["id"]: 1}).status_code == 201


def test_stock_beyond_the_bound_comes_back_too(api, lamp, reserve, stock, books_balance):
    most = 2147483647
    reserve(7, {lamp["id"]: 5})
    api.patch(f"/api/products/{lamp['id']}", {"stock": most})
    assert api.delete(URL).status_code == 204
    assert stock(lamp) == most + 5
    items = [{"productId": lamp["id"], "quantity": 100_000_000}] * 21
    items.append({"productId": lamp["id"], "quantity": most + 5 - 21 * 100_000_000})
    answer = api.put("/api/stock-reservations/8", {"items": items})
    assert answer.status_code == 201
    assert stock(lamp) == 0
    assert books_balance()


@pytest.mark.django_db(transaction=True)
def test_many_releases_at_the_same_moment_give_back_once(api, lamp, reserve, stock, books_balance):
    reserve(7, {lamp["id"]: 3})
    answers = at_once([lambda: api.delete(URL)] * 10)
    assert {answer.status_code for answer in answers} == {204}
    assert stock(lamp) == 5
    assert books_balance()


@pytest.mark.django_db(transaction=True)
def test_many_first_releases_at_the_same_moment_leave_one_tombstone(api):
    answers = at_once([lambda: api.delete(URL)] * 10)
    assert {answer.status_code for answer in answers} == {204}
    assert StockReservation.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_reserve_and_a_release_at_the_same_moment_never_leave_stock_taken(api, lamp, reserve, stock, books_balance):
    for order_id in range(1, 25):
        reserved, released = at_once(
            [
                lambda order_id=order_id: reserve(order_id, {lamp["id"]: 2}),
                lambda order_id=order_id: api.delete(f"/api/stock-reservations/{order_id}"),
            ]
        )
        assert released.status_code == 204
        if reserved.status_code != 201:
            assert_problem(reserved, 409, "reservation_released")
        assert api.get(f"/api/stock-reservations/{order_id}").json()["status"] == "released"
        assert stock(lamp) == 5
    assert books_balance()


@pytest.mark.django_db(transaction=True)
def test_a_release_that_waits_for_a_product_holds_no_reservation(api, lamp, reserve, stock):
    """A reserve locks the product first and the reservation second. The reverse order could deadlock."""
    reserve(7, {lamp["id"]: 3})
    with transaction.atomic():
        Product.objects.select_for_update(no_key=True).get(pk=lamp["id"])
        release = Caller(lambda: api.delete(URL))
        until(somebody_waits_for_a_lock)
        StockReservation.objects.select_for_update(nowait=True).get(order_id=7)
    assert release.answer().status_code == 204
    assert stock(lamp) == 5
