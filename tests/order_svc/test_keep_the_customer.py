"""An order keeps who it is for: name, email and address of the moment it was placed."""

import pytest
from django.db import IntegrityError, transaction

from order_svc.models import Order
from order_svc.serializers import OrderSerializer
from platform_core.events.models import Event
from tests.order_svc.conftest import NOTHING

pytestmark = pytest.mark.django_db
ANN_THEN = {"name": "Ann", "email": "ann@example.com", "address": "1 Elm Street"}


@pytest.fixture
def order(placed, neighbours):
    """An order, whose customer has another name, address and email by now."""
    neighbours.profile = {"name": "Anna", "email": "anna@example.com", "address": "2 Oak Street"}
    return placed


def test_every_answer_with_the_order_has_the_customer_as_at_its_placing(api, order):
    assert order["customer"] == ANN_THEN
    assert api.get(f"/api/orders/{order['id']}").json()["customer"] == ANN_THEN
    for path in ("/api/orders", "/api/orders/user/1", "/api/orders?status=confirmed"):
        assert [each["customer"] for each in api.get(path).json()["results"]] == [ANN_THEN]
    for move in ("ship", "deliver"):
        assert api.post(f"/api/orders/{order['id']}/{move}").json()["customer"] == ANN_THEN


def test_the_members_of_the_customer_come_in_one_sequence_everywhere(api, order):
    one, listed = api.get(f"/api/orders/{order['id']}").json(), api.get("/api/orders").json()["results"][0]
    assert one == listed
    assert list(one["customer"]) == list(listed["customer"]) == list(ANN_THEN)


def test_a_repetition_has_the_customer_of_the_first_answer(place, neighbours):
    first = place(key="k-1")
    neighbours.profile = {"name": "Anna", "email": "anna@example.com", "address": "2 Oak Street"}
    again = place(key="k-1")
    assert again["Idempotent-Replayed"] == "true"
    assert again.json() == first.json()
    assert again.json()["customer"] == ANN_THEN


@pytest.mark.parametrize("value", ["Zoë “Z” 日本 🙂", "a'b;--", "null", "\\", '"', ""])
def test_a_customers_data_is_kept_as_it_is(api, place, neighbours, value):
    neighbours.profile["name"] = neighbours.profile["address"] = value
    order = place().json()
    assert order["customer"] == {**ANN_THEN, "name": value, "address": value}
    assert api.get("/api/orders").json()["results"][0]["customer"] == order["customer"]


def test_the_longest_profile_of_a_user_fits(place, neighbours):
    neighbours.profile = {"name": "🙂" * 200, "email": "a" * 254, "address": "🙂" * 500}
    assert place().json()["customer"] == neighbours.profile


def test_a_user_of_an_earlier_user_service_has_an_empty_address(place, neighbours):
    del neighbours.profile["address"]
    assert place().json()["customer"] == {**ANN_THEN, "address": ""}


def test_an_order_that_was_not_placed_keeps_nobody(api, place):
    place(productId=NOTHING)
    assert Order.objects.get().status == "rejected"
    assert api.get("/api/orders").json()["results"][0]["customer"] is None


def test_an_order_of_an_earlier_version_has_no_customer(api, order):
    Order.objects.update(customer_name=None, customer_email=None, customer_address=None)
    assert api.get(f"/api/orders/{order['id']}").json()["customer"] is None
    assert api.get("/api/orders").json()["results"][0]["customer"] is None


def test_a_serializer_with_a_hook_shows_the_customer_as_well(order):
    class Hooked(OrderSerializer):
        def to_representation(self, instance):
            return super().to_representation(instance)

    found = Order.objects.get()
    assert Hooked(found).data["customer"] == OrderSerializer(found).data["customer"] == ANN_THEN
    found.customer_name = None
    assert Hooked(found).data["customer"] is OrderSerializer(found).data["customer"] is None


def test_half_a_customer_is_refused(order):
    with transaction.atomic(), pytest.raises(IntegrityError, match="order_customer_is_whole"):
        Order.objects.update(customer_address=None)


def test_events_hold_nothing_of_the_customer(api, order):
    for move in ("ship", "deliver"):
        api.post(f"/api/orders/{order['id']}/{move}")
    kept = " ".join(str(data) for data in Event.objects.values_list("data", flat=True))
    assert "Lamp" in kept
    assert not [value for value in ANN_THEN.values() if value in kept]


def test_the_page_of_an_order_shows_the_customer_as_of_then(page, order):
    shown = page(order)
    assert all(value in shown for value in ANN_THEN.values())
