"""Every change of an order's status has an actor, stored in the transaction of the change."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError
from django.utils.timezone import now

from order_svc import services
from order_svc.models import Order, OrderTransition
from platform_core.http import context
from platform_core.topology import ANALYTICS
from platform_core.vocabulary import Role
from tests import people
from tests.admin_pages import act
from tests.order_svc.conftest import ANN, LAMP, problem, recover_what_is_pending

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("known_callers")]


def transitions(order_id=None):
    rows = OrderTransition.objects.order_by("id")
    return list((rows.filter(order_id=order_id) if order_id else rows).values_list("status", "actor"))


@pytest.fixture
def as_staff(api):
    """Sends a POST with the token of a member of the staff."""
    return lambda path, *roles: api.post(path, headers=people.as_user(9, *(roles or (Role.ORDERS,))))


def test_the_customer_places_and_the_system_confirms(api, neighbours):
    body = {"userId": ANN, "productId": LAMP, "quantity": 2}
    order = api.post("/api/orders", body, headers=people.as_user(ANN)).json()
    assert (Order.objects.get().caller, transitions()) == (f"user:{ANN}", []), "placing costs no further rows"
    api.post(f"/api/orders/{order['id']}/cancel", headers=people.as_user(ANN))
    assert transitions() == [("cancelled", f"user:{ANN}")]
    by = {each["name"]: each["by"] for each in api.get(f"/api/orders/{order['id']}/explain").json()["timeline"]}
    assert (by["opened"], by["confirmed"]) == ("the customer", "the system, while the order was placed")
    assert by["cancelled"] == "the customer"


def test_staff_are_stored_by_their_id_and_not_by_name(placed, as_staff):
    as_staff(f"/api/orders/{placed['id']}/ship")
    as_staff(f"/api/orders/{placed['id']}/deliver", Role.ADMIN)
    assert transitions(placed["id"]) == [("shipped", "user:9"), ("delivered", "user:9")]


def test_a_local_account_acts_under_its_username_also_in_bulk(admin_client, placed):
    act(admin_client, Order, "ship", Order.objects.get())
    assert transitions()[-1] == ("shipped", "local:admin")


def test_somebody_who_is_not_signed_in_is_anonymous(place):
    place()
    assert Order.objects.get().caller == "anonymous"


def test_a_job_acts_for_the_person_who_started_it(placed):
    with context.entered(context.Context(caller="user:9")):
        services.ship_order(int(placed["id"]))
    assert transitions()[-1] == ("shipped", "user:9")


def test_a_rule_and_a_silent_service_reject_as_the_system(place, neighbours):
    neighbours.stock = {LAMP: 1}
    place()
    assert transitions()[-1] == ("rejected", "system:placing")
    neighbours.product_step = lambda request: problem(503, "unavailable")
    place()
    assert transitions()[-1] == ("rejected", "system:timeout")


def test_recovery_rejects_as_the_system_and_a_person_under_their_own_id(order_in, as_staff):
    left = order_in("pending")
    recover_what_is_pending()
    assert transitions(left.pk)[-1] == ("rejected", "system:recovery")
    other = order_in("pending", created_at=now() - timedelta(minutes=5))
    as_staff(f"/orders/{other.pk}/explain/reject")
    assert transitions(other.pk)[-1] == ("rejected", "user:9")


def test_a_refused_repair_of_the_reservation_cancels_as_the_system(placed, neighbours):
    neighbours.stock = {LAMP: 0}
    services.reserve_again(int(placed["id"]))
    assert transitions()[-1] == ("cancelled", "system:reserving")


def test_repeated_and_refused_moves_leave_no_transition(placed, as_staff):
    for move in ("ship", "ship", "cancel"):
        as_staff(f"/api/orders/{placed['id']}/{move}")
    assert [status for status, _ in transitions()] == ["shipped"]


def test_a_change_whose_actor_cannot_be_stored_does_not_happen(placed, monkeypatch):
    def fail(**values):
        raise IntegrityError("no")

    monkeypatch.setattr(OrderTransition.objects, "create", fail)
    with pytest.raises(IntegrityError):
        services.ship_order(int(placed["id"]))
    assert Order.objects.get().status == "confirmed"


def test_the_explanation_names_who_did_what(api, placed, as_staff, peers):
    User.objects.create_user("staff:9", first_name="Jo Keeper")
    as_staff(f"/api/orders/{placed['id']}/ship")
    api.post(f"/api/orders/{placed['id']}/deliver", headers=people.as_user(10, Role.ORDERS))
    by = {each["name"]: each["by"] for each in api.get(f"/api/orders/{placed['id']}/explain").json()["timeline"]}
    assert by["opened"] == "somebody who was not signed in"
    assert by["confirmed"] == "the system, while the order was placed"
    assert (by["shipped"], by["delivered"]) == ("Jo Keeper", "staff 10")
    assert by["outbox.confirmed"] == ""


def test_an_erased_member_of_the_staff_has_no_name_left(api, placed, as_staff):
    User.objects.create_user("staff:9", first_name="Jo Keeper")
    as_staff(f"/api/orders/{placed['id']}/ship")
    assert api.delete("/api/people/9").status_code == 204
    assert "Jo Keeper" not in str(list(OrderTransition.objects.values()))
    found = api.get(f"/api/orders/{placed['id']}/explain")
    assert "staff 9" in found.content.decode() and "Jo Keeper" not in found.content.decode()


def test_services_are_named(placed, api):
    with context.entered(context.Context(caller=f"service:{ANALYTICS.name}")):
        services.cancel_order(int(placed["id"]))
    (by,) = (
        each["by"]
        for each in api.get(f"/api/orders/{placed['id']}/explain").json()["timeline"]
        if each["name"] == "cancelled"
    )
    assert by == ANALYTICS.name
