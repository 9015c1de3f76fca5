"""Request headers: ids, deadlines, methods, media types."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_core.events.models import Event
from tests.platform_core.notes.models import Note
from tests.wire import Caller, assert_problem, somebody_waits_for_a_lock, until

pytestmark = pytest.mark.django_db

BOB = {"name": "Bob", "label": "bob@example.com"}
WELL_FORMED = re.compile("[A-Za-z0-9._-]{1,128}")


@pytest.mark.parametrize("sent", ["a", "a" * 128, "AZaz09._-", "0", "..", "-"])
@pytest.mark.parametrize("path, status", [("/api/notes", 200), ("/api/notes/0", 404), ("/nope", 404), ("/health", 200)])
def test_a_request_id_comes_back(api, sent, path, status):
    answer = api.get(path, headers={"X-Request-ID": sent})
    assert answer.status_code == status
    assert answer["X-Request-ID"] == sent


@pytest.mark.parametrize(
    "sent", ["", " ", "a b", "a" * 129, "é", "a/b", "a\tb", "a,b", '"a"', "a\x00", "a\n", "\u0661"]
)
def test_a_malformed_request_id_is_replaced(api, sent):
    answer = api.get("/api/notes", headers={"X-Request-ID": sent})
    assert answer["X-Request-ID"] != sent
    assert WELL_FORMED.fullmatch(answer["X-Request-ID"])


def test_every_request_without_an_id_gets_one_of_its_own(api):
    given_out = {api.get("/api/notes")["X-Request-ID"] for _ in range(20)}
    assert len(given_out) == 20


def test_problems_and_events_carry_the_request_id(api):
    refused = api.post("/api/notes", {}, headers={"X-Request-ID": "mine"})
    assert refused.json()["requestId"] == "mine"
    api.post("/api/notes", BOB, headers={"X-Request-ID": "mine"})
    assert Event.objects.get().request_id == "mine"


def test_a_trace_goes_on(api):
    trace = "0af7651916cd43dd8448eb211c80319c"
    api.post("/api/notes", BOB, headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    assert trace in Event.objects.get().traceparent


@pytest.mark.parametrize(
    "value",
    [
        "0",
        "0.0",
        "31",
        "30.000001",
        "-1",
        "abc",
        "",
        "1e1",
        "1,5",
        "NaN",
        "inf",
        "Infinity",
        "٣",
        "1_0",
        "0x1",
        "5s",
        " ",
        "1.",
        ".5",
    ],
)
@pytest.mark.parametrize("path", ["/api/notes", "/api/notes/1", "/api/events"])
def test_a_malformed_timeout_is_refused(api, value, path):
    assert_problem(api.get(path, headers={"X-Request-Timeout": value}), 400, "invalid", ["X-Request-Timeout"])


@pytest.mark.parametrize("value", ["30", "2.5", "5", "1", "29.999", "30.0"])
def test_a_timeout_up_to_30_seconds_is_taken(api, value):
    assert api.get("/api/notes", headers={"X-Request-Timeout": value}).status_code == 200


@pytest.mark.parametrize("method, body", [("get", None), ("post", BOB), ("put", BOB), ("patch", BOB), ("delete", None)])
def test_work_that_exceeds_the_deadline_is_rolled_back(api, note, method, body):
    path = "/api/notes" if method == "post" else f"/api/notes/{note['id']}"
    answer = getattr(api, method)(path, *([body] if body else []), headers={"X-Request-Timeout": "0.0000001"})
    assert_problem(answer, 503, "deadline_exceeded")
    assert int(answer["Retry-After"]) >= 1
    assert api.get("/api/notes").json()["results"] == [note]
    assert Event.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_waiting_for_a_lock_ends_with_the_deadline(api, note):
    from django.db import transaction

    with transaction.atomic():
        Note.objects.select_for_update().get()
        waiting = Caller(
            lambda: api.patch(f"/api/notes/{note['id']}", {"text": "2"}, headers={"X-Request-Timeout": "0.5"})
        )
        assert_problem(waiting.answer(), 503, "deadline_exceeded")
    assert api.get(f"/api/notes/{note['id']}").json() == note
    assert api.patch(f"/api/notes/{note['id']}", {"text": "2"}).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_request_with_enough_time_waits_for_the_lock_and_succeeds(api, note):
    from django.db import transaction

    with transaction.atomic():
        Note.objects.select_for_update().get()
        waiting = Caller(lambda: api.patch(f"/api/notes/{note['id']}", {"text": "2"}))
        until(somebody_waits_for_a_lock)
    assert waiting.answer().status_code == 200


@pytest.mark.parametrize(
    "method, path, allowed",
    [
        *((method, "/api/notes", {"GET", "POST"}) for method in ("PUT", "PATCH", "DELETE", "TRACE", "BREW")),
        *((method, "/api/notes/{id}", {"GET", "PUT", "PATCH", "DELETE"}) for method in ("POST", "TRACE", "BREW")),
        *((method, "/api/events", {"GET"}) for method in ("POST", "PUT", "PATCH", "DELETE")),
    ],
)
def test_a_405_lists_the_allowed_methods(api, note, method, path, allowed):
    answer = api.client.generic(method, path.format(**note))
    assert_problem(answer, 405, "method_not_allowed")
    assert allowed <= {name.strip() for name in answer["Allow"].split(",")}
    assert method not in answer["Allow"]


@pytest.mark.parametrize("path", ["/api/notes", "/api/notes/{id}", "/api/events"])
def test_options_tells_what_is_allowed(api, note, path):
    answer = api.options(path.format(**note))
    assert answer.status_code in (200, 204)
    assert "GET" in answer["Allow"]


@pytest.mark.parametrize("accept", ["application/xml", "image/png", "text/csv", "text/plain"])
@pytest.mark.parametrize("path", ["/api/notes", "/api/notes/{id}", "/api/events"])
def test_an_answer_in_a_form_we_do_not_have_is_refused(api, note, accept, path):
    answer = api.client.get(path.format(**note), HTTP_ACCEPT=accept)
    assert_problem(answer, 406, "not_acceptable")

    assert "application/json" in answer.json()["detail"]
    assert not answer.has_header("ETag")
    assert api.client.head(path.format(**note), HTTP_ACCEPT=accept).status_code == 406


@pytest.mark.parametrize("accept", ["text/plain", "image/png", "application/yaml", "application/problem+json"])
@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/notes/404", 404, "not_found"),
        ("/api/nothing", 404, "not_found"),
        ("/api/notes?nonsense=1", 400, "invalid"),
        ("/api/schema/nothing", 404, "not_found"),
        ("/api/events?limit=0", 400, "invalid"),
    ],
)
def test_an_error_is_a_problem_whatever_is_accepted(api, accept, path, status, code):
    assert_problem(api.client.get(path, HTTP_ACCEPT=accept), status, code)


@pytest.mark.usefixtures("production")
@pytest.mark.parametrize("accept", ["text/plain", "application/problem+json"])
def test_a_caller_who_may_not_read_learns_that_whatever_they_accept(api, accept):
    answer = api.client.get("/api/notes/1", HTTP_ACCEPT=accept, headers={"Authorization": "Bearer x"})
    assert_problem(answer, 401, "not_authenticated")


@pytest.mark.parametrize(
    "accept",
    [
        *("application/problem+json", "application/problem+json, text/csv", "text/csv;q=0.1, application/problem+json"),
        *("application/PROBLEM+json", "application/*;q=0.5", "application/problem+json;q=0.5"),
    ],
)
@pytest.mark.parametrize("path", ["/api/notes", "/api/notes/{id}", "/api/events", "/api/schema", "/api/", "/api/docs"])
def test_problems_are_acceptable_and_successes_are_json_then(api, note, accept, path):
    answer = api.client.get(path.format(**note), HTTP_ACCEPT=accept)
    events = path == "/api/events" and "*" in accept
    expected = "application/cloudevents-batch+json" if events else "application/json"
    assert (answer.status_code, answer["Content-Type"]) == (200, expected)


@pytest.mark.parametrize(
    "accept", ["application/problem+json", "text/plain", "image/png", "nonsense", "application/pdf"]
)
def test_a_write_is_never_refused_for_its_accept_header(api, accept):
    made = api.client.post("/api/notes", {"name": "A", "label": "x"}, format="json", HTTP_ACCEPT=accept)
    assert (made.status_code, made["Content-Type"]) == (201, "application/json")
    url = made["Location"]
    for method in ("put", "patch"):
        answer = getattr(api.client, method)(url, {"name": "B", "label": "x"}, format="json", HTTP_ACCEPT=accept)
        assert (answer.status_code, answer.json()["name"]) == (200, "B")
    assert_problem(api.client.post("/api/notes", {}, format="json", HTTP_ACCEPT=accept), 400, "invalid")
    assert api.client.options(url, HTTP_ACCEPT=accept).status_code == 204
    assert api.client.delete(url, HTTP_ACCEPT=accept).status_code == 204
    assert_problem(api.client.get(url, HTTP_ACCEPT=accept), 404, "not_found")


@pytest.mark.parametrize("accept", ["application/problem+json", "text/plain", "image/png"])
@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/metrics"])
def test_health_and_metrics_are_answered_whatever_is_accepted(api, accept, path):
    assert api.client.get(path, HTTP_ACCEPT=accept).status_code == 200
    assert_problem(api.client.post(path, {}, format="json", HTTP_ACCEPT=accept), 405, "method_not_allowed")


@pytest.mark.parametrize("accept", ["image/avif,image/webp,*/*;q=0.8", "*/*", "text/plain"])
def test_the_icon_is_answered(api, accept):
    answer = api.client.get("/favicon.ico", HTTP_ACCEPT=accept)
    assert (answer.status_code, answer["Content-Type"]) == (200, "image/svg+xml")
    assert answer.content.startswith(b"<svg")
    assert "max-age" in answer["Cache-Control"]


@pytest.mark.parametrize("accept", ["application/json", "*/*", "application/*", "application/json, text/plain, */*"])
def test_json_is_what_a_program_gets(api, note, accept):
    answer = api.client.get(f"/api/notes/{note['id']}", HTTP_ACCEPT=accept)
    assert answer["Content-Type"] == "application/json"
    assert api.client.get("/nope", HTTP_ACCEPT=accept)["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("host", ["evil.example", "localhost:abc", "a b", "", "localhost,evil.example"])
def test_a_host_that_is_not_ours_is_refused(api, host):
    if host:
        assert_problem(api.client.get("/api/notes", HTTP_HOST=host), 400, "invalid")


HEADERS = ("X-Request-ID", "X-Request-Timeout", "If-None-Match", "If-Match", "Idempotency-Key", "traceparent", "Accept")


@given(values=st.dictionaries(st.sampled_from(HEADERS), st.text(st.characters(max_codepoint=255), max_size=30)))
@pytest.mark.parametrize("method, body", [("get", None), ("put", BOB), ("post", {**BOB, "label": "new@example.com"})])
def test_any_headers_give_a_valid_response(api, note, values, method, body):
    path = "/api/notes" if method == "post" else f"/api/notes/{note['id']}"
    environment = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in values.items()}
    answer = getattr(api.client, method)(path, body, format="json", **environment)
    assert answer.status_code < 500
    assert WELL_FORMED.fullmatch(answer["X-Request-ID"])
