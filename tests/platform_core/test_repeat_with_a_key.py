"""POST /api/notes with an Idempotency-Key."""

import hashlib
import hmac
import json

import pytest
from django.db import connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from platform_core.events.models import Event
from platform_core.models import IdempotencyKey
from tests.platform_core.notes.models import Note
from tests.platform_core.notes.views import NoteViewSet
from tests.wire import Caller, assert_problem, at_once, somebody_waits_for_a_lock, until

pytestmark = pytest.mark.django_db

NOTE = {"name": "Ann", "label": "ann@example.com"}
KEY = {"Idempotency-Key": "k-1"}
REPLAYED = "Idempotent-Replayed"


def test_a_repetition_gets_the_first_answer_and_creates_no_second_note(api):
    first = api.post("/api/notes", NOTE, headers=KEY)
    assert first.status_code == 201
    assert not first.has_header(REPLAYED)
    for _ in range(2):
        again = api.post("/api/notes", NOTE, headers=KEY)
        assert again.status_code == 201
        assert again[REPLAYED] == "true"
        assert again.content == first.content
        assert again["Location"] == first["Location"]
        assert again["ETag"] == first["ETag"]
        assert again["Content-Type"] == "application/json"
    assert Note.objects.count() == Event.objects.count() == 1


def test_the_first_answer_comes_even_when_the_note_has_changed_or_gone(api):
    first = api.post("/api/notes", NOTE, headers=KEY)
    api.patch(first["Location"], {"name": "Anna"})
    assert api.post("/api/notes", NOTE, headers=KEY).content == first.content
    api.delete(first["Location"])
    assert api.post("/api/notes", NOTE, headers=KEY).content == first.content
    assert not Note.objects.exists()


def test_a_repetition_without_a_key_is_a_second_request(api):
    assert api.post("/api/notes", NOTE).status_code == 201
    assert_problem(api.post("/api/notes", NOTE), 409, "label_taken")


def test_another_key_is_another_request(api):
    api.post("/api/notes", NOTE, headers=KEY)
    assert_problem(api.post("/api/notes", NOTE, headers={"Idempotency-Key": "k-2"}), 409, "label_taken")


@pytest.mark.parametrize(
    "other",
    [
        {**NOTE, "name": "Anna"},
        {**NOTE, "text": ""},
        {"name": "Ann"},
        {},
        {**NOTE, "nonsense": 1},
        [NOTE],
        {**NOTE, "name": 5},
    ],
)
def test_another_body_with_the_same_key_is_refused(api, other):
    first = api.post("/api/notes", NOTE, headers=KEY)
    assert_problem(api.post("/api/notes", other, headers=KEY), 422, "idempotency_key_reused")
    assert Note.objects.count() == 1
    assert api.post("/api/notes", NOTE, headers=KEY).content == first.content


@pytest.mark.parametrize(
    "body",
    [
        '{"label":"ann@example.com","name":"Ann"}',
        '  {\n "name" : "Ann",\r\n\t"label": "ann@example.com" }\n',
        '{"name": "\\u0041nn", "label": "ann\\u0040example.com"}',
    ],
)
@pytest.mark.parametrize("path", ["/api/notes", "/api/notes/"])
def test_equivalent_bodies_count_as_the_same_request(api, send, body, path):
    first = api.post("/api/notes", NOTE, headers=KEY)
    again = send("POST", path, body, **KEY)
    assert again[REPLAYED] == "true"
    assert again.content == first.content


@pytest.mark.parametrize("key", ["", "a" * 256, "é", "a\x01", "a\tb", "\x7f", "\u20ac"])
def test_a_malformed_key_is_refused(api, key):
    answer = api.client.post("/api/notes", NOTE, format="json", HTTP_IDEMPOTENCY_KEY=key)
    assert_problem(answer, 400, "invalid", ["Idempotency-Key"])
    assert not Note.objects.exists()


@given(key=st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=255))
def test_any_printable_key_works(api, key):
    Note.objects.all().delete()
    IdempotencyKey.objects.all().delete()
    headers = {"HTTP_IDEMPOTENCY_KEY": key}
    first = api.client.post("/api/notes", NOTE, format="json", **headers)
    assert first.status_code == 201
    assert api.client.post("/api/notes", NOTE, format="json", **headers).content == first.content


def test_keys_differ_by_case(api):
    api.post("/api/notes", NOTE, headers={"Idempotency-Key": "key"})
    other = api.post("/api/notes", {**NOTE, "label": "b@example.com"}, headers={"Idempotency-Key": "KEY"})
    assert other.status_code == 201
    assert not other.has_header(REPLAYED)


def test_a_refusal_by_a_rule_is_stored_for_its_key(api):
    taken = api.post("/api/notes", NOTE)
    first = api.post("/api/notes", {**NOTE, "name": "Other"}, headers=KEY)
    assert_problem(first, 409, "label_taken")
    api.delete(taken["Location"])
    again = api.post("/api/notes", {**NOTE, "name": "Other"}, headers=KEY)
    assert again.status_code == 409
    assert again[REPLAYED] == "true"
    assert again["Content-Type"] == "application/problem+json"
    assert again.content == first.content
    assert not Note.objects.exists()


@pytest.mark.parametrize(
    "body, content_type, headers, status",
    [
        ('{"name": ""}', "application/json", {}, 400),
        ("{", "application/json", {}, 400),
        (json.dumps(NOTE), "text/plain", {}, 415),
        (" " * (1024 * 1024 + 1), "application/json", {}, 413),
        (json.dumps(NOTE), "application/json", {"X-Request-Timeout": "x"}, 400),
        (json.dumps(NOTE), "application/json", {"X-Request-Timeout": "0.0000001"}, 503),
    ],
)
def test_a_request_that_fails_validation_does_not_use_its_key(api, send, body, content_type, headers, status):
    assert send("POST", "/api/notes", body, content_type, **headers, **KEY).status_code == status
    assert not IdempotencyKey.objects.exists()
    answer = api.post("/api/notes", NOTE, headers=KEY)
    assert answer.status_code == 201
    assert not answer.has_header(REPLAYED)


@pytest.mark.parametrize(
    "body, rule",
    [
        (json.dumps({**NOTE, "colour": "red"}), "row_readers.unknown_members"),
        (json.dumps(NOTE)[:-1] + ', "name": "B"}', "json.judge_repeated"),
    ],
)
def test_a_known_key_gets_its_answer_even_if_a_newer_rule_refuses_the_body(send, monkeypatch, body, rule):
    with monkeypatch.context() as earlier_version:
        earlier_version.setattr(f"platform_core.api.{rule}", lambda *_: {})
        first = send("POST", "/api/notes", body, **KEY)
    assert first.status_code == 201
    again = send("POST", "/api/notes", body, **KEY)
    assert (again.status_code, again.content, again[REPLAYED]) == (201, first.content, "true")
    assert_problem(send("POST", "/api/notes", body, **{"Idempotency-Key": "new"}), 400, "invalid")
    assert_problem(send("POST", "/api/notes", body), 400, "invalid")


def test_repeated_members_are_refused_in_a_view_that_reads_the_body_by_itself(send, monkeypatch):
    monkeypatch.setattr(NoteViewSet, "validated", lambda view: dict(view.request.data))
    body = json.dumps(NOTE)[:-1] + ', "name": "B"}'
    assert_problem(send("POST", "/api/notes", body, **KEY), 400, "invalid", ["name"])
    assert not Note.objects.exists()


def test_a_key_on_other_methods_means_nothing(api, note):
    for body in ({"text": "1"}, {"text": "2"}):
        assert api.patch(f"/api/notes/{note['id']}", body, headers=KEY).json()["text"] == body["text"]
    assert not IdempotencyKey.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_concurrent_duplicate_gets_409_at_once(api):
    with transaction.atomic():
        Note.objects.create(name="Rival", label=NOTE["label"])  # the first one's insert has to wait for this
        first = Caller(lambda: api.post("/api/notes", NOTE, headers=KEY))
        until(somebody_waits_for_a_lock)
        twin = Caller(lambda: api.post("/api/notes", NOTE, headers=KEY)).answer()
        assert_problem(twin, 409, "idempotency_in_progress")
        assert int(twin["Retry-After"]) >= 1
        other = Caller(lambda: api.post("/api/notes", {**NOTE, "label": "b@x.org"}, headers={"Idempotency-Key": "o"}))
        assert other.answer().status_code == 201
        transaction.set_rollback(True)
    assert first.answer().status_code == 201
    assert api.post("/api/notes", NOTE, headers=KEY).content == first.answer().content


@pytest.mark.django_db(transaction=True)
def test_a_failed_first_request_does_not_use_its_key(api):
    with transaction.atomic():
        Note.objects.create(name="Rival", label=NOTE["label"])
        first = Caller(lambda: api.post("/api/notes", NOTE, headers={**KEY, "X-Request-Timeout": "0.5"}))
        assert_problem(first.answer(), 503, "deadline_exceeded")
        transaction.set_rollback(True)
    answer = api.post("/api/notes", NOTE, headers=KEY)
    assert answer.status_code == 201
    assert not answer.has_header(REPLAYED)


@pytest.mark.django_db(transaction=True)
def test_concurrent_duplicates_create_one_note(api):
    answers = at_once([lambda: api.post("/api/notes", NOTE, headers=KEY)] * 8)
    made = [answer for answer in answers if answer.status_code == 201]
    assert len([answer for answer in made if not answer.has_header(REPLAYED)]) == 1
    assert len({answer.content for answer in made}) == 1
    for answer in answers:
        if answer not in made:
            assert_problem(answer, 409, "idempotency_in_progress")
    assert Note.objects.count() == Event.objects.count() == IdempotencyKey.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_note_and_the_key_are_one_transaction(api):
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION no_keys() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER no_keys BEFORE INSERT ON platform_core_idempotencykey EXECUTE FUNCTION no_keys()"
        )
    try:
        answer = api.post("/api/notes", NOTE, headers=KEY)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION no_keys CASCADE")
    assert_problem(answer, 503, "unavailable")
    assert not Note.objects.exists() and not Event.objects.exists()
    assert api.post("/api/notes", NOTE, headers=KEY).status_code == 201


def test_a_repetition_after_a_change_of_the_secret_key_is_recognised(api, settings):
    first = api.post("/api/notes", NOTE, headers=KEY)
    settings.SECRET_KEY = "another key of fifty characters and more, for sure it is"
    assert api.post("/api/notes", NOTE, headers=KEY).content == first.content
    assert_problem(api.post("/api/notes", {**NOTE, "name": "Anna"}, headers=KEY), 422, "idempotency_key_reused")


def test_a_key_that_an_earlier_version_has_stored_is_recognised(api, settings):
    """It stored an HMAC with SECRET_KEY, which may since have become a fallback."""
    first = api.post("/api/notes", NOTE, headers=KEY)
    content = b"/api/notes\0" + json.dumps(NOTE, sort_keys=True, separators=(",", ":")).encode()
    earlier = hmac.new(settings.SECRET_KEY.encode(), content, hashlib.sha256).digest()
    IdempotencyKey.objects.update(fingerprint=earlier)
    assert api.post("/api/notes", NOTE, headers=KEY).content == first.content
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another key of fifty characters and more, for sure it is"
    assert api.post("/api/notes", NOTE, headers=KEY).content == first.content
    assert_problem(api.post("/api/notes", {**NOTE, "name": "Anna"}, headers=KEY), 422, "idempotency_key_reused")
