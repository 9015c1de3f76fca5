"""DELETE /api/products/{id}."""

import pytest

from tests.wire import assert_problem, at_once

pytestmark = pytest.mark.django_db


@pytest.fixture
def url(lamp) -> str:
    return f"/api/products/{lamp['id']}"


def test_it_answers_204_and_then_it_is_not_found(api, url):
    answer = api.delete(url)
    assert answer.status_code == 204
    assert answer.content == b""
    assert_problem(api.get(url), 404, "not_found")
    assert_problem(api.delete(url), 404, "not_found")
    assert_problem(api.get(url, headers={"If-None-Match": "*"}), 404, "not_found")
    assert_problem(api.get(f"{url}/stock-adjustments"), 404, "not_found")
    assert_problem(api.post(f"{url}/stock-adjustments", {"delta": 1}), 404, "not_found")


@pytest.mark.parametrize("tag, status", [('"1"', 204), ("*", 204), ('"2"', 412), ('W/"1"', 412), ("garbage", 412)])
def test_only_the_version_that_if_match_names_is_deleted(api, url, tag, status):
    assert api.delete(url, headers={"If-Match": tag}).status_code == status
    assert api.get(url).status_code == (404 if status == 204 else 200)


def test_reservations_of_a_deleted_product_can_be_released(api, lamp, url, reserve, books_balance):
    reserve(1, {lamp["id"]: 2})
    assert api.delete(url).status_code == 204
    assert api.get("/api/stock-reservations/1").json()["items"][0]["name"] == "Desk lamp"
    assert api.delete("/api/stock-reservations/1").status_code == 204
    assert api.get("/api/stock-reservations/1").json()["status"] == "released"
    assert_problem(api.get(url), 404, "not_found")
    assert books_balance()


def test_a_repeated_reserve_is_still_answered_after_the_product_has_gone(api, lamp, url, reserve):
    first = reserve(1, {lamp["id"]: 2})
    api.delete(url)
    again = reserve(1, {lamp["id"]: 2})
    assert again.status_code == 200
    assert again.json() == first.json()


@pytest.mark.django_db(transaction=True)
def test_deleted_and_reserved_at_the_same_moment_it_is_one_or_the_other(api, add, reserve, books_balance):
    for order_id in range(1, 9):
        product = add(stock=1)
        deleted, reserved = at_once(
            [
                lambda p=product: api.delete(f"/api/products/{p['id']}"),
                lambda p=product, o=order_id: reserve(o, {p["id"]: 1}),
            ]
        )
        assert deleted.status_code == 204
        if reserved.status_code != 201:
            assert_problem(reserved, 422, "unknown_product", ["items[0]"])
    assert books_balance()
