"""DELETE and GET /api/people/{id}: what order-service holds of a person, and its erasure."""

import json

import pytest
from django.db import transaction

from order_svc import privacy, tasks
from order_svc.models import Order
from platform_core.db import is_erased
from platform_core.models import ErasedPerson, IdempotencyKey
from platform_core.outbox.models import OutboxMessage
from platform_core.privacy import erase_person
from tests.order_svc.conftest import ANN, BOB, LAMP, left_behind, problem
from tests.wire import Caller, assert_problem, somebody_waits_for_a_lock, until

pytestmark = pytest.mark.django_db
WAYS = {"cancelled": ("cancel",), "delivered": ("ship", "deliver")}


@pytest.fixture
def move(api):
    def move(order, *names, key=None):
        for name in names:
            headers = {"Idempotency-Key": key} if key else None
            answer = api.post(f"/api/orders/{order['id']}/{name}", headers=headers)
            assert answer.status_code == 200, answer.content
        return answer

    return move


@pytest.fixture
def erase(api):
    def erase(user_id=ANN):
        assert api.delete(f"/api/people/{user_id}").status_code == 204

    return erase


def customers():
    return list(Order.objects.order_by("pk").values_list("customer_name", "customer_email", "customer_address"))


NOBODY = (None, None, None)


@pytest.mark.parametrize("way", WAYS)
def test_done_orders_lose_their_customer_and_nothing_else(api, place, move, erase, way):
    order, other = place().json(), place(userId=BOB).json()
    for each in (order, other):
        done = move(each, *WAYS[way])
    tag, events = done["ETag"], left_behind()
    for _ in range(2):
        erase()
    shown = api.get(f"/api/orders/{order['id']}")
    assert shown.json()["customer"] is None
    assert (shown.json()["items"], shown.json()["total"]) == (order["items"], order["total"])
    assert shown["ETag"] != tag, "a cache would keep the customer"
    assert api.get(f"/api/orders/{other['id']}").json()["customer"]["name"] == "Ann"
    assert left_behind() == events


@pytest.mark.parametrize("way", WAYS)
def test_an_open_order_keeps_its_customer_until_it_is_done(api, placed, move, erase, way):
    *first, last = WAYS[way]
    erase()
    assert api.get(f"/api/orders/{placed['id']}").json()["customer"] == placed["customer"]
    if first:
        assert move(placed, *first).json()["customer"] == placed["customer"]
    assert move(placed, last).json()["customer"] is None
    assert customers() == [NOBODY]


def test_many_orders_are_erased_in_batches(place, move, erase, monkeypatch):
    monkeypatch.setattr(privacy, "BATCH", 2)
    for _ in range(5):
        move(place().json(), "cancel")
    erase()
    assert customers() == [NOBODY] * 5


@pytest.mark.parametrize("step", ["user", "product"])
@pytest.mark.parametrize("way", WAYS)
def test_an_order_that_is_placed_during_the_erasure_loses_its_customer_as_well(place, neighbours, move, step, way):
    """The account is deleted after it was looked up, and the erasure is delivered before the order is confirmed."""
    usual = getattr(neighbours, f"{step}_step")

    def erasing(request):
        answer = usual(request)
        erase_person(ANN)
        return answer

    setattr(neighbours, f"{step}_step", erasing)
    move(place().json(), *WAYS[way])
    assert customers() == [NOBODY]


def test_a_rejected_order_has_no_customer(place, neighbours, erase):
    neighbours.stock[LAMP] = 1
    assert place().status_code == 409
    erase()
    assert customers() == [NOBODY]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("key", [None, "k-1"])
def test_an_erasure_waits_for_a_change_that_is_not_committed(api, place, move, erase, key):
    order = place().json()
    with transaction.atomic():
        move(order, "cancel", key=key)
        erasing = Caller(erase)
        until(somebody_waits_for_a_lock)
        assert not ErasedPerson.objects.exists()
        assert customers() != [NOBODY]
    erasing.answer()
    assert customers() == [NOBODY]
    assert not is_in_a_stored_answer()


@pytest.mark.django_db(transaction=True)
def test_a_change_that_waits_for_an_erasure_sees_it(place, move):
    order = place().json()
    with transaction.atomic():
        erase_person(ANN)
        cancelling = Caller(lambda: move(order, "cancel"))
        until(somebody_waits_for_a_lock)
    assert cancelling.answer().json()["customer"] is None
    assert customers() == [NOBODY]


@pytest.mark.django_db(transaction=True)
def test_an_erasure_of_one_person_does_not_wait_for_another(place):
    with transaction.atomic():
        assert not is_erased(BOB)
        Caller(lambda: erase_person(ANN)).answer()
        assert is_erased(ANN) and not is_erased(BOB)


def is_in_a_stored_answer():
    return any(b"ann@example.com" in bytes(body) for body in IdempotencyKey.objects.values_list("body", flat=True))


@pytest.mark.parametrize("way", WAYS)
def test_stored_answers_hold_no_customer_and_repetitions_show_the_first_answer(api, placed, move, erase, way):
    *_, last = WAYS[way]
    for name in WAYS[way][:-1]:
        move(placed, name)
    first = move(placed, last, key="k-1")
    assert first.json()["customer"] == placed["customer"]
    assert not is_in_a_stored_answer()
    again = move(placed, last, key="k-1")
    assert again["Idempotent-Replayed"] == "true"
    assert (again.content, again["ETag"]) == (first.content, first["ETag"])
    erase()
    assert move(placed, last, key="k-1").json() == {**first.json(), "customer": None}


def test_a_stored_refusal_is_repeated_as_it_was(api, placed, move):
    move(placed, "cancel")
    for _ in range(2):
        refusal = api.post(f"/api/orders/{placed['id']}/ship", headers={"Idempotency-Key": "k-1"})
        assert (refusal.status_code, refusal.json()["code"]) == (409, "invalid_transition")


def test_the_repetition_of_an_erased_order_shows_no_customer(place, move, erase):
    first = place(key="k-1")
    move(first.json(), "cancel")
    erase()
    again = place(key="k-1")
    assert again["Idempotent-Replayed"] == "true"
    assert again.json() == {**first.json(), "customer": None}


@pytest.fixture
def delivered(peers, settings):
    """Takes messages at notification-service. Returns the function that delivers what is due, and its bodies."""
    bodies, answer = [], [(201, {}, '{"id": "1", "status": "queued"}')]

    def take(request):
        bodies.append(json.loads(request.body))
        return answer[0]

    url = settings.PEER_URLS["notification-service"]
    peers.add_callback("POST", f"{url}/api/notifications/send", callback=take)

    def deliver():
        for message in OutboxMessage.objects.filter(destination="notification-service").order_by("pk"):
            tasks.HANDLERS[message.kind].deliver(message)
        return bodies

    deliver.answer = answer
    return deliver


def test_messages_of_an_erased_person_are_handed_over_without_their_data(placed, move, erase, delivered):
    """notification-service stores them as failed. An open order still knows its customer, but its mails go nowhere."""
    move(placed, "ship")
    erase()
    for body in delivered():
        assert body.keys() == {"userId", "type", "subject", "message"}
        assert not [value for value in placed["customer"].values() if value in str(body)]


def test_a_message_that_had_arrived_before_the_erasure_counts_as_delivered(placed, erase, delivered):
    """Its repetition has another body, since the person's data is gone."""
    delivered.answer[0] = problem(422, "idempotency_key_reused")
    with pytest.raises(Exception, match="idempotency_key_reused"):
        delivered()
    erase()
    assert len(delivered()) == 2


def test_the_rows_of_a_person_are_read_in_pages(api, place, move):
    orders = [place().json(), place().json()]
    for order in orders:
        move(order, "ship")
    place(userId=BOB)
    rows, url, pages = [], f"/api/people/{ANN}?limit=1", 0
    while url:
        page = api.get(url).json()
        assert len(page["results"]) == 1
        rows += page["results"]
        url, pages = page["next"], pages + 1
    assert pages == 6
    assert [each["table"] for each in rows] == [
        *("order_svc_order", "order_svc_order", "order_svc_orderline", "order_svc_orderline"),
        *["order_svc_ordertransition"] * 2,
    ]
    assert [each["row"]["id"] for each in rows[:2]] == [int(order["id"]) for order in orders]
    assert {each["row"]["customer_email"] for each in rows[:2]} == {"ann@example.com"}
    assert "fingerprint" not in rows[0]["row"]
    assert api.get(f"/api/people/{ANN}").json() == {"results": rows, "next": None}


@pytest.mark.parametrize(
    "query", ["after=x", "after=1", "limit=0", "limit=201", "more=1", "after=1-2-3", "after=0-9" + "9" * 18]
)
def test_bad_parameters_are_refused(api, query):
    assert api.get(f"/api/people/{ANN}?{query}").status_code == 400


def test_an_id_that_nobody_can_have_is_a_404(api):
    for method in ("get", "delete"):
        assert_problem(getattr(api, method)("/api/people/9999999999999999999"), 404, "not_found")
    assert not ErasedPerson.objects.exists()


def test_nothing_is_held_of_somebody_unknown(api):
    assert api.get("/api/people/12345").json() == {"results": [], "next": None}
