"""Bodies of every shape, to every route that takes one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.platform_core.notes.models import Note
from tests.wire import assert_problem

pytestmark = pytest.mark.django_db

NOTE = {"name": "Ann", "label": "second@example.com"}
MIB = 1024 * 1024
CODES = {400: "invalid", 409: "label_taken", 422: "idempotency_key_reused"}


@pytest.fixture(params=["POST", "PUT", "PATCH"])
def route(request, note) -> tuple[str, str]:
    return request.param, "/api/notes" if request.param == "POST" else f"/api/notes/{note['id']}"


@pytest.mark.parametrize("body", ["[]", '[{"name": "Ann"}]', '"text"', "5", "1.5", "true", "null", "[null]", "[[]]"])
def test_a_body_that_is_no_object_is_refused(send, route, body):
    assert_problem(send(*route, body), 400, "invalid")


@pytest.mark.parametrize(
    "body",
    [
        *(" ", "{", "}", "{}}", "{}{}", '{"name"}', "{'name': 'x'}", '{"name": "x",}', "nil", "undefined", "\ufeff{}"),
        *('{"name": NaN}', '{"name": Infinity}', '{"name": -Infinity}', '{"name": 01}', '{"name": +1}', '{"name": .5}'),
        *('{"name": "\n"}', '{"name": "\\x41"}', '{"name": "a\\u00"}', '{"name": "abc', '{"name": tru', "{1: 2}", "\0"),
        *('{"name": "\\ud800"}', '{"name": "\\udc00 x"}', '{"name": "\\ud800\\u0041"}', '{"\\ud800": 1}', "// x\n{}"),
        *('{"name": 1e99999999999999999999}', '{"nonsense": -1e-99999999999999999999}', "name=Ann&label=x"),
    ],
)
def test_a_body_that_is_no_json_is_refused(send, body):
    assert_problem(send("POST", "/api/notes", body), 400, "invalid")


@pytest.mark.parametrize(
    "body", [b"\xff\xfe{\x00}\x00", b'{"name": "\xff"}', b'{"name": "\xed\xa0\x80"}', b"\x00" * 99, b"\x80"]
)
def test_a_body_that_is_no_utf8_is_refused(send, route, body):
    assert_problem(send(*route, body), 400, "invalid")


@pytest.mark.parametrize("depth", [50, 1000, 100_000])
@pytest.mark.parametrize("opening, closing", [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "deep"}])
def test_deep_nesting_is_refused(send, depth, opening, closing, headers):
    deep = opening * depth + "1" + closing * depth
    assert_problem(
        send("POST", "/api/notes", f'{{"name": {deep}, "label": "x@example.com"}}', **headers), 400, "invalid"
    )


@pytest.mark.parametrize("digits", [20, 4301, 50_000])
@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "huge"}])
@pytest.mark.parametrize("shape", ["{}", "-{}", "{}.5", "0.{}", "{}e5", "1e{}", '"{}"'])
def test_very_long_numbers_are_refused(send, digits, headers, shape):
    number = shape.format("1" * digits)
    assert_problem(send("POST", "/api/notes", f'{{"name": {number}}}', **headers), 400, "invalid")


def test_a_huge_number_in_an_unknown_field_is_ignored(send):
    for number, value in enumerate(("1" * 4000, "1e999999999999999", "1e-999999999999999", "-0", "1" * 30)):
        body = json.dumps({**NOTE, "label": f"x{number}@example.com"})[:-1] + f', "nonsense": {value}}}'
        answer = send("POST", "/api/notes", body, **{"Idempotency-Key": f"key {number}"})
        assert answer.status_code == 201


@pytest.mark.parametrize(
    "content_type",
    [
        *("text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"),
        *("multipart/form-data", "text/json", "application/jsonx", "json", ";", "/", "\xff"),
        *("application/merge-patch+json", "application/octet-stream", "text/html", "application/problem+json"),
    ],
)
def test_a_body_that_is_not_called_json_is_unsupported(send, content_type):
    assert_problem(send("POST", "/api/notes", json.dumps(NOTE), content_type), 415, "unsupported_media_type")


def test_a_form_is_unsupported(api):
    answer = api.client.post("/api/notes", NOTE, format=None, content_type="application/x-www-form-urlencoded")
    assert_problem(answer, 415, "unsupported_media_type")
    assert not Note.objects.exists()


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
def test_json_may_be_called_so_in_several_ways(send, content_type):
    assert send("POST", "/api/notes", json.dumps(NOTE), content_type).status_code == 201


def test_a_missing_body_is_refused(api):
    assert_problem(api.client.post("/api/notes"), 400, "invalid", ["name", "label"])


def test_a_body_of_1_mib_is_read_and_a_longer_one_refused(send, route):
    text = json.dumps(NOTE)
    assert send(*route, text + " " * (MIB - len(text))).status_code in (200, 201)
    assert_problem(send(*route, text + " " * (MIB - len(text) + 1)), 413, "too_large")
    assert_problem(send(*route, "x" * (2 * MIB), "application/x-www-form-urlencoded"), 413, "too_large")


@pytest.mark.parametrize("length", ["-1", "abc", "1.5", "٣", "1_0"])
def test_an_invalid_content_length_is_refused(api, length):
    answer = api.client.generic("POST", "/api/notes", b"{}", content_type="application/json", CONTENT_LENGTH=length)
    assert answer.status_code in (400, 413)
    assert_problem(answer, answer.status_code, "invalid" if answer.status_code == 400 else "too_large")


def test_the_last_of_two_equal_names_counts(send):
    answer = send("POST", "/api/notes", '{"name": "A", "name": "B", "label": "x@example.com"}')
    assert answer.json()["name"] == "B"


def test_unknown_field_names_are_ignored(send):
    for number, name in enumerate(("", "\0", "__proto__", "non_field_errors", "a" * 5000, "名", "\u202e")):
        body = json.dumps({**NOTE, "label": f"x{number}@example.com", name: "x"})
        assert send("POST", "/api/notes", body).status_code == 201


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=8,
)


@given(
    body=anything | st.fixed_dictionaries({}, optional=dict.fromkeys(("name", "label", "text"), anything)),
    key=st.none() | st.just("key"),
)
def test_any_body_gives_a_note_or_a_validation_error(api, send, body, key):
    headers = {"Idempotency-Key": key} if key else {}
    answer = send("POST", "/api/notes", json.dumps(body), **headers)
    if answer.status_code != 201:
        assert_problem(answer, answer.status_code, CODES[answer.status_code])


@given(body=st.binary(max_size=60))
def test_any_bytes_give_a_problem(send, body):
    assert_problem(send("POST", "/api/notes", body), 400, "invalid")
