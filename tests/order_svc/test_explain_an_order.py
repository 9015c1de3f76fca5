"""The explanation of one order: GET /api/orders/{id}/explain, the page /orders/{id}/explain, and its buttons."""

import json
import re
import shlex
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
import requests
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from order_svc.models import Order
from platform_core.events.models import Event
from platform_core.outbox.models import OutboxMessage
from platform_core.topology import NOTIFICATION, ORDER
from platform_core.vocabulary import Role
from tests import people
from tests.admin_pages import url
from tests.clients import Browser
from tests.order_svc.conftest import (
    ANN,
    FAILURES,
    LAMP,
    SILENT,
    forget,
    left_behind,
    problem,
    raising,
    recover_what_is_pending,
)
from tests.platform_core.test_browser_security import BROWSER, Page
from tests.wire import assert_problem

pytestmark = pytest.mark.django_db


def moments(found):
    return [(moment["name"], moment["state"]) for moment in found["timeline"]]


def moment(found, name):
    (one,) = (each for each in found["timeline"] if each["name"] == name)
    return one


def offered(found):
    return [operation["name"] for operation in found["operations"]]


# The explanation


def test_a_confirmed_order_from_its_first_step_to_the_mail(api, place, afterwards, explained):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = {"X-Request-ID": "abc-1", "traceparent": trace}
    order = api.post("/api/orders", {"userId": ANN, "productId": LAMP, "quantity": 2}, headers=headers).json()
    afterwards.mailed(order)
    found = explained(order)
    assert re.fullmatch(r"Confirmed; the confirmation was mailed 0\.\d s later\.", found["verdict"]["text"])
    assert found["verdict"]["mood"] == "well"
    assert moments(found) == [
        (name, "done")
        for name in ("user", "opened", "stock", "confirmed", "outbox.confirmed", "notification.confirmed")
    ]
    for name in ("user", "stock"):
        assert moment(found, name)["attempts"] == 1
        assert moment(found, name)["durationMs"] > 0
    took = moment(found, "confirmed")["durationMs"]
    assert took >= moment(found, "user")["durationMs"] + moment(found, "stock")["durationMs"]
    assert found["reservation"]["status"] == "reserved"
    assert found["requests"] == [{"requestId": "abc-1", "traceId": trace.split("-")[1], "of": ["placed", "confirmed"]}]
    assert found["order"] == order
    assert found["unknown"] == []
    assert offered(found) == ["ship", "cancel"]


def test_notifications_show_their_attempts_but_not_their_texts(placed, afterwards, explained):
    afterwards.mailed(placed, status="failed", attempts=60, error="OSError: refused")
    found = explained(placed)
    assert "could not be mailed (60 attempts: OSError: refused)" in found["verdict"]["text"]
    assert "Confirmation not mailed" in [moment["title"] for moment in found["timeline"]]
    assert found["verdict"]["mood"] == "stuck"
    (note,) = found["notifications"]
    assert (note["status"], note["attempts"], note["lastError"], note["sentAt"]) == (
        "failed",
        60,
        "OSError: refused",
        None,
    )
    assert found.pop("order")["customer"]["email"] == "ann@example.com"
    assert "ann@example.com" not in json.dumps(found)


def test_waiting_and_missing_mails_are_shown(placed, afterwards, explained):
    afterwards.mailed(placed, status="queued", attempts=2, error="OSError: refused")
    assert "is waiting to be mailed (2 attempts: OSError: refused)" in explained(placed)["verdict"]["text"]
    afterwards.notices.clear()
    found = explained(placed)
    assert "has no message" in found["verdict"]["text"]
    assert [note["status"] for note in found["notifications"]] == ["none"]


def test_notification_service_is_not_asked_for_an_undelivered_confirmation(placed, afterwards, explained):
    found = explained(placed)
    assert found["verdict"] == {
        "text": "Confirmed; the confirmation is not handed over yet: not attempted yet, due now.",
        "mood": "waiting",
    }
    assert found["notifications"] == []
    assert [request.path_url for request in afterwards.asked] == [f"/api/stock-reservations/{placed['id']}"]
    assert offered(found) == ["ship", "retry", "cancel"]


def test_a_dead_message_is_shown_with_its_cause(placed, explained):
    OutboxMessage.objects.update(state="dead", attempts=3, last_error="PeerRefused: notification-service: No.")
    found = explained(placed)
    assert found["verdict"]["mood"] == "stuck"
    assert "notification-service refuses it; given up after 3 attempts" in found["verdict"]["text"]
    assert moment(found, "outbox.confirmed")["state"] == "failed"
    (row,) = found["outbox"]
    assert (row["state"], row["nextAttemptAt"], row["lastError"][:11]) == ("dead", None, "PeerRefused")


@pytest.mark.parametrize(
    "code, why", [("insufficient_stock", "not enough stock"), ("unknown_product", "no such product")]
)
def test_a_rejected_order_tells_why(place, neighbours, afterwards, explained, code, why):
    neighbours.product_step = lambda request: problem(409 if "stock" in code else 422, code)
    place()
    afterwards.held = None
    OutboxMessage.objects.update(state="delivered", delivered_at=now(), attempts=1)
    found = explained(Order.objects.get())
    assert found["verdict"]["mood"] == "well"
    assert found["verdict"]["text"].startswith("Rejected: there")
    assert why in found["verdict"]["text"]
    assert [name for name, state in moments(found) if state == "failed"] == ["stock", "rejected"]
    assert moment(found, "stock")["detail"] == code
    assert found["operations"] == []


def test_a_rejected_order_names_the_silent_peer_and_the_attempts(place, neighbours, afterwards, explained):
    neighbours.product_step = lambda request: problem(503, "unavailable")
    place()
    afterwards.held = None
    found = explained(Order.objects.get())
    assert found["verdict"]["text"].startswith("Rejected: product-service did not answer in time; its stock is not")
    stock = moment(found, "stock")
    assert (stock["state"], stock["detail"]) == ("failed", "PeerFailed")
    assert 1 <= stock["attempts"] <= 3


def test_a_cancelled_order_whose_release_waits(api, placed, afterwards, explained):
    api.post(f"/api/orders/{placed['id']}/cancel", headers={"X-Request-ID": "abc-2"})
    following = now() + timedelta(minutes=5)
    OutboxMessage.objects.filter(kind="stock.release").update(
        attempts=7,
        available_at=following,
        last_error="PeerConnectionFailed: product-service: does not take connections",
    )
    OutboxMessage.objects.update(created_at=now() - timedelta(minutes=1))
    afterwards.product_step = SILENT
    found = explained(placed)
    clock = (
        following.strftime("%H:%M:%S") if following.date() == now().date() else following.strftime("%Y-%m-%d %H:%M:%S")
    )
    assert found["verdict"] == {
        "text": "Cancelled; its stock is not released yet: product-service does not answer "
        f"(7 attempts, next at {clock}).",
        "mood": "stuck",
    }
    assert found["unknown"] == ["product-service"]
    assert found["reservation"] is None
    assert moment(found, "outbox.release")["state"] == "waiting"
    assert moment(found, "outbox.release")["at"] is None
    assert [request["of"] for request in found["requests"]] == [["placed", "confirmed"], ["cancelled"]]
    assert offered(found) == ["retry"]


def test_an_overdue_message_points_to_the_worker(placed, explained):
    OutboxMessage.objects.update(available_at=now() - timedelta(minutes=5), created_at=now() - timedelta(minutes=5))
    found = explained(placed)
    assert found["verdict"]["mood"] == "stuck"
    assert "does order-service's worker run?" in found["verdict"]["text"]


def test_a_message_blocked_by_another_one_names_it(api, placed, explained):
    api.post(f"/api/orders/{placed['id']}/ship")
    assert moment(explained(placed), "outbox.shipped")["detail"] == f"comes after order-{placed['id']}-confirmed"


def test_a_cancelled_order_with_everything_done(api, placed, afterwards, explained):
    api.post(f"/api/orders/{placed['id']}/cancel")
    afterwards.mailed(placed)
    afterwards.mailed(placed, "cancelled")
    OutboxMessage.objects.filter(kind="stock.release").update(state="delivered", delivered_at=now())
    afterwards.held = "released"
    found = explained(placed)
    assert found["verdict"]["mood"] == "well"
    assert re.fullmatch(
        r"Cancelled; its stock is released, and the notice of its cancellation was mailed 0\.\d s later\.",
        found["verdict"]["text"],
    )
    assert found["operations"] == []
    assert moments(found)[-1][1] == "done"


@pytest.mark.parametrize("moves", [["ship"], ["ship", "deliver"]])
def test_a_shipped_or_delivered_order_is_explained(api, placed, afterwards, explained, moves):
    for move in moves:
        api.post(f"/api/orders/{placed['id']}/{move}")
    afterwards.mailed(placed)
    afterwards.mailed(placed, "shipped")
    found = explained(placed)
    assert found["verdict"]["mood"] == "well"
    assert {"ship": "Shipped", "deliver": "Delivered"}[moves[-1]] in found["verdict"]["text"]
    assert ("shipped", "done") in moments(found)


AGES = [
    (3, r"Pending for \d+(\.\d)? s: it is being placed", "waiting", []),
    (75, r"Pending for \d+ s: recovery will reject it within seconds\.", "waiting", ["reject"]),
    (900, r"Pending for 15 min: recovery should have rejected it", "stuck", ["reject"]),
]


@pytest.mark.parametrize("age, text, mood, can", AGES, ids=lambda value: str(value)[:5])
def test_a_pending_order_by_its_age(order_in, explained, age, text, mood, can):
    order = order_in("pending", steps={}, created_at=now() - timedelta(seconds=age))
    found = explained(order)
    assert re.match(text, found["verdict"]["text"])
    assert found["verdict"]["mood"] == mood
    assert offered(found) == can
    assert [name for name, state in moments(found) if state == "waiting"] == ["stock", "settled"]


def test_an_order_rejected_by_recovery_is_explained(order_in, afterwards, explained):
    order = order_in("pending", steps={})
    recover_what_is_pending()
    OutboxMessage.objects.update(state="delivered", delivered_at=now())
    afterwards.held = "released"
    assert explained(order)["verdict"]["text"].startswith("Rejected: its request ended before the order was confirmed")


@pytest.mark.parametrize("status, held", [("confirmed", None), ("confirmed", "released"), ("cancelled", "reserved")])
def test_contradictions_between_services_are_shown(order_in, afterwards, explained, status, held):
    order = order_in(status)
    afterwards.held = held
    found = explained(order)
    assert found["verdict"]["mood"] == "stuck"
    assert "yet product-service holds" in found["verdict"]["text"]


def test_an_order_with_few_records_can_be_explained(order_in, afterwards, explained, page):
    order = order_in("confirmed", steps={}, request_id="", traceparent="")
    found = explained(order)
    assert [name for name, _ in moments(found)] == ["opened", "confirmed", "notification.confirmed"]
    assert found["requests"] == []
    assert "No request id is recorded" in page(order)


def test_an_order_without_events_has_at_least_its_present_state(order_in, explained):
    assert ("shipped", "done") in moments(explained(order_in("shipped")))


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_silent_peers_are_named_and_the_rest_is_shown(placed, afterwards, explained, page, failure):
    afterwards.mailed(placed)
    afterwards.product_step = afterwards.notification_step = failure
    found = explained(placed)
    assert found["unknown"] == ["product-service", "notification-service"]
    assert "not known at the moment" in found["verdict"]["text"]
    assert [note["status"] for note in found["notifications"]] == ["unknown"]
    assert "Not known at the moment" in page(placed)


def test_a_peer_that_did_not_answer_is_not_asked_again(api, placed, afterwards, explained):
    api.post(f"/api/orders/{placed['id']}/ship")
    OutboxMessage.objects.update(state="delivered", delivered_at=now())
    afterwards.notification_step = raising(requests.exceptions.ReadTimeout("Read timed out."))
    assert [note["status"] for note in explained(placed)["notifications"]] == ["unknown"] * 2
    assert len(afterwards.asked) == 2


def test_the_log_search_finds_the_lines(placed, explained):
    found = explained(placed)
    (request,) = found["requests"]
    lines = [f'{{"event":"request","requestId":"{request["requestId"]}"}}', '{"event":"request","requestId":"other"}']
    done = subprocess.run(
        shlex.split(found["logs"]["grep"]), input="\n".join(lines), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == lines[:1]
    assert f'.requestId == "{request["requestId"]}"' in found["logs"]["jq"]


def test_invalid_ids_are_not_in_the_commands(order_in, explained):
    found = explained(order_in("confirmed", request_id="'; rm -rf / #"))
    assert found["requests"] == []
    assert found["logs"] == {"grep": "", "jq": ""}


@pytest.mark.parametrize("path", ["/api/orders/{}/explain", "/orders/{}/explain"])
@pytest.mark.parametrize("order_id", ["0", "4711", str(2**63), "9" * 40, "x"])
def test_a_missing_order_is_404(api, db, path, order_id):
    assert_problem(api.get(path.format(order_id)), 404, "not_found")


@pytest.mark.parametrize("lines", [1, 100])
@pytest.mark.parametrize("path", ["/api/orders/{}/explain", "/orders/{}/explain"])
def test_it_costs_five_queries_however_many_lines(api, place, neighbours, afterwards, path, lines):
    neighbours.catalog = dict.fromkeys(range(1, 101), ("P", "1"))
    items = [{"productId": n + 1, "quantity": 1} for n in range(lines)]
    order = place({"userId": ANN, "items": items}).json()
    with CaptureQueriesContext(connection) as captured:
        assert api.client.get(path.format(order["id"]), headers={"Accept": BROWSER}).status_code == 200
    assert len(captured) == 5


def test_no_query_is_made_after_a_peer_was_asked(placed, afterwards, explained):
    """A silent peer must not hold a database connection."""
    made = []
    with CaptureQueriesContext(connection) as captured:
        afterwards.product_step = lambda request: made.append(len(captured)) or problem(503, "unavailable")
        explained(placed)
    assert set(made) == {5}
    assert len(captured) == 5


# The page


def test_the_page_explains_the_order_and_loads_nothing_from_other_hosts(client, placed, afterwards, page):
    afterwards.mailed(placed)
    text = page(placed)
    for words in ("the confirmation was mailed", "User checked", "Stock reserved", "took", "1 attempt", "grep -F"):
        assert words in text
    parsed = Page(text)
    assert (parsed.inline, parsed.styled, parsed.foreign) == ([], [], [])
    assert {client.get(path).status_code for path in parsed.loaded} == {200}


def test_html_in_data_is_escaped(place, neighbours, page):
    neighbours.catalog[LAMP] = ("<b>Lamp</b>", "1")
    order = place().json()
    OutboxMessage.objects.update(state="dead", last_error="<script>alert(1)</script>")
    text = page(order)
    assert "&lt;b&gt;Lamp" in text and "&lt;script&gt;" in text
    assert "<b>Lamp" not in text and "<script>" not in text


def test_programs_get_the_same_as_from_the_api(api, placed, explained):
    found, same = (api.get(f"{prefix}/orders/{placed['id']}/explain").json() for prefix in ("/api", ""))
    assert {**found, "asOf": None} == {**same, "asOf": None}
    assert found["page"] == f"http://testserver/orders/{placed['id']}/explain"


def test_browsers_get_a_page_for_a_missing_order(client, db):
    answer = client.get("/orders/4711/explain", headers={"Accept": BROWSER})
    assert answer.status_code == 404
    assert answer["Content-Type"].startswith("text/html")
    assert "There is no such resource" in answer.content.decode()


def test_the_admins_page_of_an_order_is_this_one(admin_client, placed):
    led = admin_client.get(url(Order, "change", placed["id"]))
    assert (led.status_code, led["Location"]) == (302, f"/orders/{placed['id']}/explain")


def test_a_link_cannot_make_the_page_say_that_something_was_done(placed, page):
    for query in ("?did=cancelled", "?did=nonsense"):
        text = page(placed, query)
        assert "is cancelled" not in text and "nonsense" not in text and 'role="status"' not in text


def test_what_was_done_is_said_once_and_not_to_a_poll(client, placed, page):
    path, headers = f"/orders/{placed['id']}/explain", {"Accept": BROWSER}
    client.post(f"{path}/ship", headers=headers)
    assert "The order is shipped" not in client.get(path, headers={**headers, "X-Purpose": "poll"}).content.decode()
    assert "The order is shipped" in page(placed)
    assert "The order is shipped" not in page(placed)


# The buttons


def test_waiting_and_dead_messages_are_tried_again_and_delivered_ones_are_not(api, placed, press, page):
    api.post(f"/api/orders/{placed['id']}/cancel")
    done, release, mail = OutboxMessage.objects.order_by("id")
    later = now() + timedelta(hours=1)
    OutboxMessage.objects.filter(pk=done.pk).update(state="delivered", delivered_at=now())
    OutboxMessage.objects.filter(pk=release.pk).update(attempts=7, available_at=later, last_error="x")
    OutboxMessage.objects.filter(pk=mail.pk).update(state="dead", attempts=60, available_at=later)
    assert press(placed, "retry") == "The undelivered messages are being delivered again."
    for row in (done, release, mail):
        row.refresh_from_db()
    assert (done.state, release.state, mail.state) == ("delivered", "pending", "pending")
    assert (release.attempts, mail.attempts) == (7, 0)
    assert max(release.available_at, mail.available_at) <= now()


def test_a_message_with_a_running_attempt_is_not_redriven(placed, press):
    later = now() + timedelta(hours=1)
    OutboxMessage.objects.update(lease="0" * 32, leased_until=now() + timedelta(seconds=20), available_at=later)
    press(placed, "retry")
    assert OutboxMessage.objects.get().available_at == later


def test_the_messages_of_other_orders_are_left_alone(place, press):
    mine, other = place().json(), place().json()
    OutboxMessage.objects.update(state="dead")
    press(mine, "retry")
    assert OutboxMessage.objects.get(aggregate=f"order:{other['id']}").state == "dead"
    OutboxMessage.objects.update(state="delivered")
    assert press(mine, "retry") == "There was nothing left to deliver."


def test_the_cancel_button_does_what_the_api_does_and_is_idempotent(placed, press):
    forget()
    assert [press(placed, "cancel") for _ in range(2)] == ["The order is cancelled. Its stock is being released."] * 2
    keys = [f"order-{placed['id']}-{what}" for what in ("release", "cancelled")]
    assert left_behind() == (["order.cancelled"], keys)


def test_irreversible_operations_ask_for_confirmation(placed, page):
    text = page(placed)
    asked = text[text.index("<details>") : text.index("</details>")]  # the first, without a class
    assert "cannot be confirmed again" in asked
    assert f'action="/orders/{placed["id"]}/explain/cancel"' in asked
    assert "/explain/retry" not in asked


def test_an_overdue_order_is_rejected_as_recovery_does_it(order_in, press):
    order = order_in("pending", created_at=now() - timedelta(seconds=61), request_id="abc-1", idempotency_key="k")
    assert [press(order, "reject")[:22] for _ in range(2)] == ["The order is rejected."] * 2
    order.refresh_from_db()
    assert (order.status, order.reason, order.idempotency_key) == ("rejected", "abandoned", None)
    assert left_behind() == (["order.rejected"], [f"order-{order.pk}-release"])
    assert OutboxMessage.objects.get().request_id == "abc-1"


def test_an_order_that_may_still_be_confirmed_is_not_rejected(order_in, press, page):
    order = order_in("pending", created_at=now() - timedelta(seconds=50))
    assert press(order, "reject").startswith("Nothing was done. Only an overdue pending order can be rejected")
    order.refresh_from_db()
    assert order.status == "pending"
    assert "/explain/reject" not in page(order)


@pytest.mark.parametrize("operation", ["cancel", "reject"])
def test_an_operation_that_comes_too_late_changes_nothing(api, order_in, press, operation):
    order = order_in("shipped")
    assert press(order, operation).startswith("Nothing was done. ")
    assert_problem(api.post(f"/orders/{order.pk}/explain/{operation}"), 409, "invalid_transition")
    assert left_behind() == ([], [])


@pytest.mark.parametrize("operation", ["retry", "cancel", "reject", "ship", "deliver"])
def test_an_operation_on_a_missing_order_is_404(api, db, operation):
    assert_problem(api.post(f"/orders/4711/explain/{operation}"), 404, "not_found")
    assert_problem(api.get(f"/orders/4711/explain/{operation}"), 405, "method_not_allowed")


def test_a_key_makes_an_operation_one(api, placed):
    forget()
    first, again = (
        api.post(f"/orders/{placed['id']}/explain/cancel", headers={"Idempotency-Key": "k-1"}) for _ in "ab"
    )
    assert (first.status_code, first["Location"]) == (again.status_code, again["Location"])
    assert again["Idempotent-Replayed"] == "true"


# Access


@pytest.fixture
def production(production, afterwards):
    """The production settings, with peers that answer."""


def test_without_a_token_programs_get_401_and_browsers_the_sign_in(client, placed, production):
    path = f"/orders/{placed['id']}/explain"
    answer = client.get(path, headers={"Accept": "application/json"})
    assert_problem(answer, 401, "not_authenticated")
    for method, asked in (("get", path), ("post", f"{path}/cancel")):
        led = getattr(client, method)(asked, headers={"Accept": BROWSER})
        assert (led.status_code, led["Location"]) == (302, f"/admin/login/?next=%2Forders%2F{placed['id']}%2Fexplain")
    assert Order.objects.get().status == "confirmed"


OPERATIONS = ("ship", "retry", "cancel")
ROLES = [
    ((Role.ORDERS,), 200, OPERATIONS),
    ((Role.ADMIN,), 200, OPERATIONS),
    ((Role.SUPPORT,), 200, ("cancel",)),
    ((Role.CATALOG,), 403, ()),
    ((), 403, ()),
]


@pytest.mark.parametrize("roles, looking, may", ROLES)
def test_the_role_orders_may_do_everything_and_the_role_support_may_cancel(
    client, placed, production, roles, looking, may
):
    headers = {**people.as_user(9, *roles), "Accept": BROWSER}
    path = f"/orders/{placed['id']}/explain"
    for looked in (path, f"/api{path}"):
        assert client.get(looked, headers=headers).status_code == looking
    text = client.get(path, headers=headers).content.decode()
    assert re.findall(r'action="[^"]*/explain/(\w+)"', text) == list(may)
    assert ("need the role" in text) == (may == ("cancel",))
    for operation in () if may == OPERATIONS else sorted({*OPERATIONS, "deliver", "reject"} - set(may)):
        assert client.post(f"{path}/{operation}", headers=headers).status_code == 403
    for operation in reversed(may):
        assert client.post(f"{path}/{operation}", headers=headers).status_code == 303


def test_services_and_customers_cannot_open_explanations(client, placed, production):
    for headers in (people.as_service(NOTIFICATION, ORDER), people.as_user(ANN)):
        assert client.get(f"/api/orders/{placed['id']}/explain", headers=headers).status_code == 403


def test_buttons_need_the_pages_csrf_token(admin_user, placed, production, afterwards):
    browser = Browser(forges=True)
    browser.force_login(admin_user)
    path, headers = f"/orders/{placed['id']}/explain", {"Accept": BROWSER}
    assert browser.post(f"{path}/cancel", headers=headers).status_code == 403
    assert Order.objects.get().status == "confirmed"
    text = browser.get(path, headers=headers).content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', text)[1]
    answer = browser.post(f"{path}/cancel", {"csrfmiddlewaretoken": token}, headers=headers)
    assert (answer.status_code, answer["Location"]) == (303, path)
    assert Order.objects.get().status == "cancelled"


# Recorded steps


def test_the_order_stores_the_duration_of_each_step(placed):
    steps = Order.objects.get().steps
    assert set(steps) == {"user", "stock"}
    for step in steps.values():
        assert (step["attempts"], step["error"]) == (1, "")
        assert 0 < step["ms"] < 5000
        assert abs(datetime.now(UTC) - datetime.fromisoformat(step["at"])) < timedelta(minutes=1)


def test_repeated_attempts_are_counted(place, neighbours):
    answers = [problem(503, "unavailable")]
    neighbours.product_step = lambda request: answers.pop() if answers else neighbours.reserve(request)
    assert place().status_code == 201
    assert Order.objects.get().steps["stock"]["attempts"] == 2


def test_durations_of_steps_are_not_in_events(placed):
    assert "steps" not in Event.objects.get().data


@pytest.mark.parametrize("code, one, two", [("USD", "1,500.00", "3,000.00"), ("JPY", "1,500", "3,000")])
def test_amounts_have_the_decimals_of_the_currency(settings, place, neighbours, explained, page, code, one, two):
    settings.CURRENCY = code
    neighbours.catalog[LAMP] = ("Lamp", "1500")
    order = place().json()
    assert moment(explained(order), "confirmed")["detail"] == f"{two} {code}"
    text = page(order)
    for part in (f">{one}<", f">{two}<", f">{two} {code}<"):
        assert part in text
