"""POST /api/orders/{id}/cancel, /ship and /deliver."""

import pytest
from django.db import connection, transaction

from order_svc.models import Order
from platform_core.events.models import Event
from platform_core.outbox.models import OutboxMessage
from tests.order_svc.conftest import LAMP, forget, left_behind
from tests.wire import Caller, assert_problem, at_once, somebody_waits_for_a_lock, until

pytestmark = pytest.mark.django_db

MOVES = {"cancel": "cancelled", "ship": "shipped", "deliver": "delivered"}
ALLOWED = {("confirmed", "cancel"), ("confirmed", "ship"), ("shipped", "deliver")}
TABLE = [(state, move) for state in Order.Status.values for move in MOVES]


def path(order, move):
    return f"/api/orders/{order['id'] if isinstance(order, dict) else order.pk}/{move}"


@pytest.mark.parametrize("state, move", [row for row in TABLE if row in ALLOWED])
def test_an_allowed_move_returns_the_order(api, order_in, state, move):
    order = order_in(state)
    answer = api.post(path(order, move))
    assert answer.status_code == 200
    assert (answer.json()["id"], answer.json()["status"]) == (str(order.pk), MOVES[move])
    assert answer.json() == api.get(f"/api/orders/{order.pk}").json()
    assert answer.json()["updatedAt"] > answer.json()["createdAt"]


@pytest.mark.parametrize("state, move", [(state, move) for move, state in MOVES.items()])
def test_repeating_a_move_returns_the_order_and_changes_nothing(api, order_in, state, move):
    order = order_in(state)
    before = Order.objects.values().get()
    for _ in range(2):
        answer = api.post(path(order, move))
        assert answer.status_code == 200
        assert answer.json()["status"] == state
    assert Order.objects.values().get() == before
    assert left_behind() == ([], [])


@pytest.mark.parametrize("state, move", [row for row in TABLE if row not in ALLOWED and row[0] != MOVES[row[1]]])
def test_anything_else_is_an_invalid_transition_and_changes_nothing(api, order_in, state, move):
    order = order_in(state)
    before = Order.objects.values().get()
    assert_problem(api.post(path(order, move)), 409, "invalid_transition")
    assert Order.objects.values().get() == before
    assert left_behind() == ([], [])


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("order_id", ["0", "4711", str(2**63), "x"])
def test_a_missing_order_is_404(api, db, order_id, move):
    assert_problem(api.post(f"/api/orders/{order_id}/{move}"), 404, "not_found")


@pytest.mark.parametrize("move", MOVES)
def test_only_a_post_moves_an_order(api, placed, move):
    for method in ("get", "put", "patch", "delete"):
        assert_problem(getattr(api, method)(path(placed, move)), 405, "method_not_allowed")
    assert api.get(f"/api/orders/{placed['id']}").json()["status"] == "confirmed"


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("body", [None, {}])
def test_a_body_is_not_needed_and_an_empty_one_does_no_harm(api, placed, slash, body):
    assert api.post(path(placed, "cancel") + slash, body).status_code == 200


@pytest.mark.parametrize("move", MOVES)
def test_a_move_takes_no_members(api, send, placed, move):
    (error,) = assert_problem(api.post(path(placed, move), {"reason": "changed my mind"}), 400, "invalid", ["reason"])
    assert error["code"] == "unknown_field"
    for body in ("[]", "5", "{", '{"a": 1, "a": 2}'):
        assert_problem(send("POST", path(placed, move), body), 400, "invalid")
    assert api.get(f"/api/orders/{placed['id']}").json()["status"] == "confirmed"


LEAVES = [
    (["cancel"], ["order.cancelled"], ["release", "cancelled"]),
    (["cancel", "cancel"], ["order.cancelled"], ["release", "cancelled"]),
    (["ship"], ["order.shipped"], ["shipped"]),
    (["ship", "cancel", "ship"], ["order.shipped"], ["shipped"]),
    (["ship", "deliver", "deliver"], ["order.shipped", "order.delivered"], ["shipped"]),
    (["cancel", "ship", "deliver"], ["order.cancelled"], ["release", "cancelled"]),
]


@pytest.mark.parametrize("moves, events, messages", LEAVES, ids=lambda value: "-".join(value))
def test_each_change_leaves_its_event_and_messages_once(api, placed, moves, events, messages):
    forget()
    for move in moves:
        api.post(path(placed, move))
    assert left_behind() == (events, [f"order-{placed['id']}-{message}" for message in messages])


def test_cancelling_an_order_releases_its_stock_and_notifies_the_customer(api, placed):
    forget()
    api.post(path(placed, "cancel"))
    release, message = OutboxMessage.objects.order_by("id")
    assert (release.kind, release.destination) == ("stock.release", "product-service")
    assert release.payload == {"orderId": int(placed["id"])}
    assert (message.kind, message.destination) == ("notification.send", "notification-service")
    assert (message.payload["type"], message.payload["user_id"]) == ("order_cancelled", 1)
    assert placed["id"] in message.payload["subject"]
    assert release.aggregate == message.aggregate


def test_shipping_an_order_notifies_the_customer(api, placed):
    forget()
    api.post(path(placed, "ship"))
    (message,) = OutboxMessage.objects.all()
    assert message.payload["type"] == "order_shipped"
    assert placed["id"] in message.payload["subject"]


def test_an_event_has_the_complete_order_and_a_rising_version(api, placed):
    api.post(path(placed, "ship"))
    api.post(path(placed, "deliver"))
    confirmed, shipped, delivered = Event.objects.order_by("id")
    assert [event.data["status"] for event in (confirmed, shipped, delivered)] == ["confirmed", "shipped", "delivered"]
    assert confirmed.data["version"] < shipped.data["version"] < delivered.data["version"]
    changing = ("status", "version")
    for later in (shipped, delivered):
        same = {name: value for name, value in later.data.items() if name not in changing}
        assert same == {name: value for name, value in confirmed.data.items() if name not in changing}


def test_the_requests_id_and_trace_go_into_what_it_leaves(api, placed):
    forget()
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    api.post(path(placed, "cancel"), headers={"X-Request-ID": "abc-1", "traceparent": trace})
    for row in [*Event.objects.all(), *OutboxMessage.objects.all()]:
        assert row.request_id == "abc-1"
        assert row.traceparent.split("-")[1] == trace.split("-")[1]


def test_the_etag_changes_with_the_order(api, placed):
    before = api.get(f"/api/orders/{placed['id']}")["ETag"]
    moved = api.post(path(placed, "ship"))["ETag"]
    assert moved != before
    assert moved == api.get(f"/api/orders/{placed['id']}")["ETag"]


def test_prices_do_not_change_when_an_order_goes_on(api, placed, neighbours):
    neighbours.catalog[LAMP] = ("Other", "1")
    assert api.post(path(placed, "ship")).json()["items"] == placed["items"]


@pytest.mark.django_db(transaction=True)
def test_one_of_a_concurrent_cancel_and_ship_wins(api, place):
    for _ in range(5):
        order = place().json()
        forget()
        calls = [lambda order=order, move=move: api.post(path(order, move)) for move in ("cancel", "ship")]
        cancelled, shipped = at_once(calls)
        assert sorted([cancelled.status_code, shipped.status_code]) == [200, 409]
        status = api.get(f"/api/orders/{order['id']}").json()["status"]
        won, messages = {
            "cancelled": (cancelled, [f"order-{order['id']}-release", f"order-{order['id']}-cancelled"]),
            "shipped": (shipped, [f"order-{order['id']}-shipped"]),
        }[status]
        assert won.status_code == 200
        assert left_behind() == ([f"order.{status}"], messages)


@pytest.mark.django_db(transaction=True)
def test_a_cancel_that_waits_for_a_ship_sees_that_it_lost(api, placed):
    """The ship is not committed yet, and the cancel waits for its row lock."""
    with transaction.atomic():
        assert api.post(path(placed, "ship")).status_code == 200
        cancel = Caller(lambda: api.post(path(placed, "cancel")))
        until(somebody_waits_for_a_lock)
    assert_problem(cancel.answer(), 409, "invalid_transition")
    assert left_behind()[0] == ["order.confirmed", "order.shipped"]


@pytest.mark.django_db(transaction=True)
def test_many_cancels_at_once_give_the_stock_back_once(api, placed):
    forget()
    answers = at_once([lambda: api.post(path(placed, "cancel"))] * 6)
    assert [answer.status_code for answer in answers] == [200] * 6
    assert left_behind() == (
        ["order.cancelled"],
        [f"order-{placed['id']}-release", f"order-{placed['id']}-cancelled"],
    )


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("table", ["events_event", "outbox_outboxmessage"])
def test_a_change_its_event_and_its_messages_are_one_transaction(api, placed, table):
    forget()
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END $$"
        )
        cursor.execute(f"CREATE TRIGGER full_disk BEFORE INSERT ON {table} EXECUTE FUNCTION full_disk()")
    try:
        assert_problem(api.post(path(placed, "cancel")), 503, "unavailable")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION full_disk CASCADE")
    assert api.get(f"/api/orders/{placed['id']}").json()["status"] == "confirmed"
    assert left_behind() == ([], [])
    assert api.post(path(placed, "cancel")).status_code == 200
