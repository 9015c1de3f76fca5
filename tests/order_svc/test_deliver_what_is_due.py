"""The worker sends releases to product-service and messages to notification-service, over real sockets."""

import threading
from datetime import timedelta

import pytest
from django.utils.timezone import now

from order_svc import services, tasks
from order_svc.models import Order
from platform_core.api import encode
from platform_core.clients import MAX_DATA_BYTES
from platform_core.outbox.models import OutboxMessage
from tests import servers
from tests.conftest import mocked_network
from tests.servers import answers, hangs_up, keeps_silent, resets
from tests.wire import assert_problem

pytestmark = pytest.mark.django_db(transaction=True)
TAKEN = answers({"id": "1", "status": "queued"}, 201)
RELEASED = answers(None, 204)
HTML = {"Content-Type": "text/html"}


@pytest.fixture
def there():
    with servers.serving() as server:
        yield server


@pytest.fixture
def order(place, settings, there):
    """A confirmed order. After it, a real server stands in for product-service and notification-service."""
    made = place().json()
    urls = dict.fromkeys(("product-service", "notification-service"), there.url)
    settings.PEER_URLS = {**settings.PEER_URLS, **urls}
    return made


@pytest.fixture
def peers():
    """Placing the order uses fakes; the tests of this file use the network."""
    with mocked_network() as mock:
        mock.add_passthru("http://127.0.0.1")
        yield mock


def deliver(lane):
    """Runs a lane of the worker until nothing more is due, and ends its threads."""
    while lane.run(threading.Event()):
        pass
    lane.finish()


def time_passes():
    OutboxMessage.objects.update(available_at=now() - timedelta(seconds=1))


def row(order, what):
    return OutboxMessage.objects.get(key=f"order-{order['id']}-{what}")


def test_the_confirmation_is_handed_over_once_under_its_key(there, order):
    there.will(TAKEN)
    for _ in range(2):
        deliver(tasks.NOTIFICATIONS)
        time_passes()
    (request,) = there.requests
    assert (request.method, request.path) == ("POST", "/api/notifications/send")
    assert request.headers["Idempotency-Key"] == f"order-{order['id']}-confirmed"
    assert request.json["userId"] == "1"
    assert request.json["type"] == "order_confirmed"
    assert order["id"] in request.json["subject"]
    assert request.json["recipient"] == "ann@example.com"
    assert "channel" not in request.json
    assert row(order, "confirmed").state == "delivered"


def test_every_mail_goes_to_the_address_of_the_moment_of_placing(api, there, order, neighbours):
    neighbours.profile["email"] = "new@example.com"
    neighbours.users.clear()
    api.post(f"/api/orders/{order['id']}/ship")
    there.will(TAKEN)
    deliver(tasks.NOTIFICATIONS)
    assert [request.json["recipient"] for request in there.requests] == ["ann@example.com"] * 2


def test_a_mail_has_the_lines_of_its_order(there, order):
    there.will(TAKEN)
    deliver(tasks.NOTIFICATIONS)
    line = {"productId": "11", "name": "Lamp", "quantity": 2, "unitPrice": "19.99", "subtotal": "39.98"}
    assert there.requests[0].json["data"] == {
        "orderId": order["id"],
        "customer": {"name": "Ann", "address": "1 Elm Street"},
        "total": "39.98",
        "currency": "USD",
        "moreLines": 0,
        "lines": [line],
    }


def test_lines_that_do_not_fit_into_a_mail_are_counted(neighbours, place):
    neighbours.catalog = dict.fromkeys(range(1, 101), ("🙂" * 200, "9999999999.99"))
    items = [{"productId": n, "quantity": 1_000_000} for n in range(1, 101)]
    made = place({"userId": 1, "items": items}).json()
    data = services.addressing(int(made["id"]))["data"]
    assert len(data["lines"]) + data["moreLines"] == 100
    line = len(encode(data["lines"][0])) + 1
    assert MAX_DATA_BYTES - line < len(encode(data)) <= MAX_DATA_BYTES


def test_a_mail_of_an_order_without_a_customer_names_no_recipient(there, order):
    """An order of an earlier version. notification-service looks the address up."""
    Order.objects.update(customer_name=None, customer_email=None, customer_address=None)
    there.will(TAKEN)
    deliver(tasks.NOTIFICATIONS)
    assert there.requests[0].json.keys().isdisjoint({"recipient", "data"})


def test_the_outbox_holds_no_personal_data(api, order):
    api.post(f"/api/orders/{order['id']}/cancel")
    kept = " ".join(str(payload) for payload in OutboxMessage.objects.values_list("payload", flat=True))
    assert order["id"] in kept
    assert not [value for value in order["customer"].values() if value in kept]


def test_the_stock_of_a_cancelled_order_is_released(api, there, order):
    api.post(f"/api/orders/{order['id']}/cancel")
    there.will(RELEASED)
    deliver(tasks.RELEASES)
    (request,) = there.requests
    assert (request.method, request.path) == ("DELETE", f"/api/stock-reservations/{order['id']}")
    assert row(order, "release").state == "delivered"


def test_notifications_arrive_in_the_order_of_the_events(api, there, order):
    for move in ("ship", "deliver"):
        api.post(f"/api/orders/{order['id']}/{move}")
    there.will(TAKEN)
    deliver(tasks.NOTIFICATIONS)
    assert [request.json["type"] for request in there.requests] == ["order_confirmed", "order_shipped"]


def test_the_browsers_request_id_reaches_the_last_service(api, there, order):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    api.post(f"/api/orders/{order['id']}/cancel", headers={"X-Request-ID": "abc-1", "traceparent": trace})
    there.will(RELEASED)
    deliver(tasks.RELEASES)
    (request,) = there.requests
    assert request.headers["X-Request-ID"] == "abc-1"
    assert request.headers["traceparent"].split("-")[1] == trace.split("-")[1]


DOWN = {
    "hangs up": hangs_up,
    "resets": resets,
    "500": answers({}, 500),
    "503": answers({}, 503),
    "502 in HTML": answers(b"<html>", 502, HTML),
    "404 in HTML": answers(b"<html>", 404, HTML),
    "200 in HTML": answers(b"<html>", 200, HTML),
    "a redirect": answers(b"", 302, {"Location": "/"}),
    "still at it": answers({"code": "idempotency_in_progress"}, 409),
    "throttled": answers({"code": "throttled"}, 429),
}


@pytest.mark.parametrize("failure", DOWN.values(), ids=DOWN)
def test_messages_arrive_when_notification_service_is_back(there, order, failure):
    there.will(failure)
    deliver(tasks.NOTIFICATIONS)
    assert row(order, "confirmed").state == "pending"
    assert row(order, "confirmed").last_error
    there.will(TAKEN)
    time_passes()
    deliver(tasks.NOTIFICATIONS)
    assert row(order, "confirmed").state == "delivered"
    assert len({request.headers["Idempotency-Key"] for request in there.requests}) == 1


@pytest.mark.parametrize("failure", [*DOWN.values(), *[answers({}, status) for status in (400, 401, 404, 422)]])
def test_a_release_is_tried_until_it_is_answered(api, there, order, failure):
    api.post(f"/api/orders/{order['id']}/cancel")
    OutboxMessage.objects.update(attempts=10_000)
    there.will(failure)
    deliver(tasks.RELEASES)
    assert row(order, "release").state == "pending"
    there.will(RELEASED)
    time_passes()
    deliver(tasks.RELEASES)
    assert row(order, "release").state == "delivered"


def test_releases_are_retried_with_growing_pauses(api, there, order):
    api.post(f"/api/orders/{order['id']}/cancel")
    OutboxMessage.objects.update(attempts=10_000)
    there.will(answers({}, 503))
    deliver(tasks.RELEASES)
    assert row(order, "release").available_at > now() + timedelta(minutes=4)
    assert row(order, "release").available_at < now() + timedelta(minutes=11)


@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_message_that_is_refused_is_parked_and_does_not_hold_up_the_next(api, there, order, status):
    api.post(f"/api/orders/{order['id']}/ship")
    there.will(answers({"code": "invalid"}, status, {"Content-Type": "application/problem+json"}), TAKEN)
    deliver(tasks.NOTIFICATIONS)
    assert (row(order, "confirmed").state, row(order, "shipped").state) == ("dead", "delivered")


@pytest.mark.parametrize("status", [401, 403, 405])
def test_messages_wait_while_the_receiver_refuses_our_credentials(api, there, order, status):
    there.will(answers({"code": "not_authenticated", "detail": "The token was issued in the future."}, status))
    OutboxMessage.objects.update(attempts=1000)
    deliver(tasks.NOTIFICATIONS)
    assert (row(order, "confirmed").state, row(order, "confirmed").attempts) == ("pending", 1001)
    assert api.get("/health").json()["checks"]["outbox"]["status"] == "degraded"
    there.will(TAKEN)
    time_passes()
    deliver(tasks.NOTIFICATIONS)
    assert row(order, "confirmed").state == "delivered"


def test_a_silent_peer_does_not_block_the_worker(there, order, monkeypatch):
    monkeypatch.setattr("platform_core.outbox.delivery.ATTEMPT_SECONDS", 0.3)
    there.will(keeps_silent)
    deliver(tasks.NOTIFICATIONS)
    assert row(order, "confirmed").last_error.startswith("PeerTimeout")


def test_releases_do_not_wait_for_a_dead_notification_service(api, there, order, settings):
    settings.PEER_URLS = {**settings.PEER_URLS, "notification-service": servers.refused_url()}
    api.post(f"/api/orders/{order['id']}/cancel")
    there.will(RELEASED)
    deliver(tasks.NOTIFICATIONS)
    deliver(tasks.RELEASES)
    assert row(order, "confirmed").last_error.startswith("PeerConnectionFailed")
    assert row(order, "release").state == "delivered"


def test_an_order_that_was_given_up_is_released_when_product_service_is_back(api, there, order, settings):
    settings.PEER_URLS = {**settings.PEER_URLS, "user-service": there.url}
    there.will(answers({"id": "1", "name": "Ann", "email": "a@x.org"}), hangs_up, hangs_up, RELEASED)
    assert_problem(api.post("/api/orders", {"userId": 1, "productId": 11, "quantity": 1}), 503, "unavailable")
    rejected = Order.objects.get(status="rejected")
    deliver(tasks.RELEASES)
    assert there.requests[-1].method == "DELETE"
    assert there.requests[-1].path == f"/api/stock-reservations/{rejected.pk}"
    assert not OutboxMessage.objects.filter(kind="stock.release", state="pending").exists()


@pytest.mark.parametrize("silent", ["user-service", "product-service"])
def test_a_silent_peer_gives_503_within_the_deadline(api, there, order, settings, silent):
    settings.PEER_URLS = {**settings.PEER_URLS, "user-service": there.url}
    known = answers({"id": "1", "name": "Ann", "email": "a@x.org"})
    there.will(*([keeps_silent] if silent == "user-service" else [known, keeps_silent]))
    body = {"userId": 1, "productId": 11, "quantity": 1}
    answer = api.post("/api/orders", body, headers={"X-Request-Timeout": "1.5"})
    assert_problem(answer, 503, "unavailable")
    assert silent in answer.json()["detail"]
    assert answer["Retry-After"]


@pytest.mark.parametrize("code, one, two", [("USD", "1500.00", "3,000.00 USD"), ("JPY", "1500", "3,000 JPY")])
def test_amounts_have_the_decimals_of_the_currency(settings, neighbours, place, there, code, one, two):
    settings.CURRENCY = code
    neighbours.catalog[11] = ("Lamp", "1500")
    place()
    settings.PEER_URLS = {**settings.PEER_URLS, "notification-service": there.url}
    there.will(TAKEN)
    deliver(tasks.NOTIFICATIONS)
    sent = there.requests[0].json
    assert sent["message"].splitlines()[2:] == [f"2 × Lamp: {two}", "", f"Total: {two}"]
    assert (sent["data"]["lines"][0]["unitPrice"], sent["data"]["currency"]) == (one, code)
    assert f"{int(sent['data']['total'].split('.')[0]):,}" == "3,000"
    assert len(sent["data"]["total"]) == len(one) == len(sent["data"]["lines"][0]["subtotal"])
