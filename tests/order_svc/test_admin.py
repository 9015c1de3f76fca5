"""The admin of order-service: read-only, with actions that do what the API does."""

import pytest
from django.contrib.auth.models import Permission, User

from order_svc.models import Order, OrderLine
from platform_core.outbox.models import OutboxMessage
from tests.admin_pages import *  # noqa: F403
from tests.admin_pages import act, said, url
from tests.order_svc.conftest import left_behind

pytestmark = pytest.mark.django_db
SEARCHES = ("1", "order-1")
READ_ONLY = [Order]
FORGED = {"status": "delivered", "total": "0", "state": "pending", "type": "x", "key": "x", "user_id": "9"}
FORGED |= {"lines-TOTAL_FORMS": "1", "lines-INITIAL_FORMS": "0", "lines-0-product_id": "5", "lines-0-quantity": "5"}


@pytest.fixture
def rows(api, placed):
    """Creates a row in each of the service's own tables."""
    api.post(f"/api/orders/{placed['id']}/ship")


def test_the_lines_of_an_order_cannot_be_changed_by_hand(admin_client, rows):
    lines = list(OrderLine.objects.values())
    assert lines
    admin_client.post(url(Order, "change", Order.objects.get().pk), FORGED)
    assert list(OrderLine.objects.values()) == lines


MOVES = [("cancel", "confirmed", "cancelled"), ("ship", "confirmed", "shipped"), ("deliver", "shipped", "delivered")]


@pytest.mark.parametrize("action, state, becomes", MOVES)
def test_a_single_order_is_moved_at_once_as_the_api_moves_it(admin_client, order_in, action, state, becomes):
    order = order_in(state)
    answer = act(admin_client, Order, action, order)
    assert said(answer) == [f"Order {order.pk} is {becomes}."]
    assert set(Order.objects.values_list("status", flat=True)) == {becomes}
    events, messages = left_behind()
    assert events == [f"order.{becomes}"]
    assert sum("release" in message for message in messages) == (1 if becomes == "cancelled" else 0)


def test_a_refused_move_of_a_single_order_is_reported(admin_client, order_in):
    shipped = order_in("shipped")
    answer = act(admin_client, Order, "cancel", shipped)
    assert said(answer) == [f"Order {shipped.pk}: An order that is shipped cannot become cancelled."]
    shipped.refresh_from_db()
    assert shipped.status == "shipped" and left_behind() == ([], [])


def test_dead_messages_can_be_redriven(admin_client, placed, place):
    place()
    dead, waiting = OutboxMessage.objects.order_by("id")
    OutboxMessage.objects.filter(pk=dead.pk).update(state="dead", attempts=60, last_error="x")
    answer = act(admin_client, OutboxMessage, "redrive_dead", dead, waiting)
    assert said(answer) == ["1 dead messages will be tried again."]
    dead.refresh_from_db()
    assert (dead.state, dead.attempts) == ("pending", 0)


def test_read_only_staff_cannot_run_actions(client, order_in):
    order = order_in("confirmed")
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(*Permission.objects.filter(codename__startswith="view_"))
    client.force_login(viewer)
    assert client.get(url(Order, "changelist")).status_code == 200
    act(client, Order, "cancel", order)
    order.refresh_from_db()
    assert order.status == "confirmed"


def test_hashes_of_requests_are_not_shown(admin_client, place):
    order = place(key="k-1").json()
    page = admin_client.get(url(Order, "change", order["id"])).content.decode()
    assert "fingerprint" not in page.lower()


@pytest.mark.parametrize("code, total", [("USD", "3,000.00 USD"), ("JPY", "3,000 JPY")])
def test_amounts_have_the_decimals_of_the_currency(settings, admin_client, neighbours, place, code, total):
    settings.CURRENCY = code
    neighbours.catalog[11] = ("Lamp", "1500")
    place()
    assert f">{total}<" in admin_client.get(url(Order, "changelist")).content.decode()
