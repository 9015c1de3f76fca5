"""GET /api/orders/{id}."""

import pytest

from tests.wire import assert_problem

pytestmark = pytest.mark.django_db


def test_a_confirmed_order_reads_like_the_answer_to_its_request(api, placed):
    answer = api.get(f"/api/orders/{placed['id']}")
    assert answer.status_code == 200
    assert answer.json() == placed
    assert isinstance(answer.json()["id"], str)


@pytest.mark.parametrize("status", ["pending", "rejected"])
def test_an_order_that_was_never_confirmed_has_no_total(api, order_in, status):
    answer = api.get(f"/api/orders/{order_in(status).pk}")
    assert (answer.json()["status"], answer.json()["total"]) == (status, None)


def test_a_rejected_order_says_why(api, place, neighbours):
    neighbours.stock = {11: 0}
    place()
    (order,) = api.get("/api/orders").json()["results"]
    assert (order["status"], order["reason"]) == ("rejected", "insufficient_stock")
    assert order["items"] == [{"productId": "11", "name": None, "unitPrice": None, "quantity": 2, "subtotal": None}]
    assert api.get(f"/api/orders/{order['id']}").json() == order


def test_a_trailing_slash_and_leading_zeros_make_no_difference(api, placed):
    assert api.get(f"/api/orders/{placed['id']}/").json() == placed
    assert api.get(f"/api/orders/00{placed['id']}").json() == placed


@pytest.mark.parametrize("order_id", ["0", "4711", str(2**63), "x"])
def test_a_missing_order_is_404(api, order_id):
    assert_problem(api.get(f"/api/orders/{order_id}"), 404, "not_found")


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_an_order_is_not_changed_by_hand(api, placed, method):
    body = [] if method == "delete" else [{"status": "delivered", "total": 0}]
    assert_problem(getattr(api, method)(f"/api/orders/{placed['id']}", *body), 405, "method_not_allowed")
    assert api.get(f"/api/orders/{placed['id']}").json() == placed


@pytest.mark.parametrize("form", ["{tag}", "W/{tag}"])
def test_an_order_that_has_not_changed_is_not_sent_again(api, placed, form):
    tag = api.get(f"/api/orders/{placed['id']}")["ETag"]
    answer = api.get(f"/api/orders/{placed['id']}", headers={"If-None-Match": form.format(tag=tag)})
    assert (answer.status_code, answer.content, answer["ETag"]) == (304, b"", tag)


def test_an_order_that_has_changed_is_sent_again(api, placed):
    tag = api.get(f"/api/orders/{placed['id']}")["ETag"]
    api.post(f"/api/orders/{placed['id']}/ship")
    answer = api.get(f"/api/orders/{placed['id']}", headers={"If-None-Match": tag})
    assert answer.status_code == 200
    assert answer["ETag"] != tag
