"""Bodies of every shape, to every route that takes one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from platform_core.topology import SERVICES
from tests import people
from tests.platform_core.notes.models import Note
from tests.platform_core.notes.views import NoteSerializer
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
        *(" ", "{", "}", "{}}", "{}{}", '{"name"}', "{'name': 'x'}", '{"name": "x",}', "nil", "undefined"),
        *("\ufeff", "{}\ufeff", "\ufeff\ufeff{}"),
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


def test_a_huge_number_in_an_ignored_field_is_harmless(send, note):
    for value in ("1" * 4000, "1e999999999999999", "1e-999999999999999", "-0", "1" * 30):
        body = json.dumps(NOTE)[:-1] + f', "id": {value}}}'
        assert send("PUT", f"/api/notes/{note['id']}", body).json()["id"] == note["id"]


@pytest.mark.parametrize(
    "content_type",
    [
        *("text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"),
        *("multipart/form-data", "text/json", "application/jsonx", "json", ";", "/", "\xff"),
        *("application/merge-patch+json", "application/octet-stream", "text/html", "application/problem+json"),
    ],
)
def test_a_body_that_is_not_called_json_is_unsupported(send, content_type):
    answer = send("POST", "/api/notes", json.dumps(NOTE), content_type)
    assert_problem(answer, 415, "unsupported_media_type")
    assert answer["Accept"] == answer["Accept-Post"] == "application/json"
    assert "Accepted are: application/json." in answer.json()["detail"]


def test_a_patch_may_be_a_merge_patch(send, api, note):
    path, patch = f"/api/notes/{note['id']}", "application/merge-patch+json"
    answer = send("PATCH", path, '{"text": null, "name": "Bob"}', patch)
    assert (answer.status_code, answer.json()["text"], answer.json()["name"]) == (200, "", "Bob")
    assert_problem(send("PATCH", path, '{"colour": 1}', patch), 400, "invalid", ["colour"])
    refused = send("PATCH", path, "{}", "text/plain")
    assert_problem(refused, 415, "unsupported_media_type")
    assert refused["Accept-Patch"] == f"application/json, {patch}"
    refused = send("PUT", path, json.dumps(NOTE), patch)
    assert_problem(refused, 415, "unsupported_media_type")
    assert refused["Accept"] == "application/json"
    assert not refused.has_header("Accept-Patch")


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


@pytest.mark.parametrize(
    "body, fields",
    [
        ('{"name": "A", "name": "B", "label": "x"}', ["name"]),
        ('{"name": "A", "n\\u0061me": "A", "label": "x"}', ["name"]),
        ('{"label": "x", "name": "A", "x": [{"y": {"a:": ":", "a:": 1, "b": 2, "b": 3}}]}', ["x[0].y.a:", "x[0].y.b"]),
        ('\ufeff{"name": "A", "label": "x", "label": "x"}', ["label"]),
        (json.dumps({"x" * 5000: 1, "y" * 5000: 2}).replace("y", "x"), ["x" * 100]),
    ],
)
def test_a_name_that_is_given_twice_is_refused(send, route, body, fields):
    errors = assert_problem(send(*route, body), 400, "invalid", fields)
    assert {error["code"] for error in errors} == {"repeated"}
    assert not Note.objects.filter(name="B").exists()


def test_repeated_names_deep_inside_are_found(send):
    deep = '{"a":' * 300 + '{"b": 1, "b": 2}' + "}" * 300
    (error,) = assert_problem(send("POST", "/api/notes", deep), 400, "invalid")
    assert (error["code"], len(error["field"])) == ("repeated", 100)


def test_colons_and_quotes_in_texts_are_no_members(send):
    text = 'a: "b": \\ \\\\" : {"x": 1} \\u003a'
    assert send("POST", "/api/notes", json.dumps({**NOTE, "text": text})).json()["text"] == text


def test_a_byte_order_mark_before_the_body_is_ignored(send):
    assert send("POST", "/api/notes", "\ufeff" + json.dumps(NOTE)).json()["name"] == "Ann"


@pytest.mark.parametrize(
    "name, hint",
    [
        *(("Name", "'name'"), ("nmae", "'name'"), ("lable", "'label'"), ("label ", "'label'")),
        *((name, "Known are: name, label, text.") for name in ("", "\0", "__proto__", "a" * 5000, "名", "\u202e")),
    ],
)
def test_an_unknown_member_is_refused_with_the_nearest_known_name(send, route, name, hint):
    (error,) = assert_problem(send(*route, json.dumps({**NOTE, name: "x"})), 400, "invalid", [name[:100] or "body"])
    assert error["code"] == "unknown_field"
    assert hint in error["detail"]
    assert not Note.objects.filter(label=NOTE["label"]).exists()


@pytest.mark.parametrize("others", [{}, {"name": ""}])
def test_unknown_members_and_invalid_values_are_named_together(send, others):
    body = {**NOTE, "message": 1, "code": 2, "non_field_errors": 3, **others}
    errors = assert_problem(send("POST", "/api/notes", json.dumps(body)), 400, "invalid")
    assert [error["field"] for error in errors] == ["message", "code", "body", *others]


def test_members_with_the_names_of_an_errors_parts_are_members(api):
    errors = assert_problem(api.post("/api/notes", {**NOTE, "message": 1, "code": 2}), 400, "invalid")
    assert [(error["field"], error["code"]) for error in errors] == [
        ("message", "unknown_field"),
        ("code", "unknown_field"),
    ]


def test_not_all_of_many_unknown_members_are_named(send):
    body = {**NOTE, **{f"x{number}": 1 for number in range(1000)}}
    assert len(assert_problem(send("POST", "/api/notes", json.dumps(body)), 400, "invalid")) == 20


def test_an_answer_may_be_sent_back(api, note):
    path = f"/api/notes/{note['id']}"
    for write in (api.put, api.patch):
        answer = write(path, {**api.get(path).json(), "id": "999", "createdAt": None, "text": "new"})
        assert answer.status_code == 200
        assert answer.json() == {**note, "text": "new", "updatedAt": answer.json()["updatedAt"]}


def test_what_the_service_sets_is_refused_in_a_new_resource(api, note):
    errors = assert_problem(api.post("/api/notes", {**note, "label": "x"}), 400, "invalid")
    assert {(error["field"], error["code"]) for error in errors} == {
        (name, "unknown_field") for name in ("id", "createdAt", "updatedAt")
    }


@pytest.mark.usefixtures("known_callers")
def test_unknown_members_from_a_service_are_ignored_and_counted(api, settings):
    def counted() -> float:
        return REGISTRY.get_sample_value("body_members_ignored_total", {"route": "/api/notes"}) or 0

    before, headers = counted(), people.as_service(SERVICES[0], settings.SERVICE)
    answer = api.post("/api/notes", {**NOTE, "colour": "red", "Name": "x"}, headers=headers)
    assert (answer.status_code, answer.json()["name"]) == (201, "Ann")
    assert counted() - before == 2
    answer = api.post("/api/notes", {**NOTE, "name": "", "colour": "red"}, headers=headers)
    assert_problem(answer, 400, "invalid", ["name"])


@pytest.mark.usefixtures("known_callers")
def test_an_operation_without_a_body_refuses_members_but_not_those_of_a_service(api, client, send, note, settings):
    path, headers = f"/api/notes/{note['id']}/touch", people.as_service(SERVICES[0], settings.SERVICE)
    (error,) = assert_problem(api.post(path, {"reason": "x"}), 400, "invalid", ["reason"])
    assert error["code"] == "unknown_field"
    assert_problem(send("POST", path, '{"a": 1, "a": 1}'), 400, "invalid", ["a"])
    assert_problem(send("POST", path, '{"a": 1, "a": 1}', **{"Idempotency-Key": "k"}), 400, "invalid", ["a"])
    assert_problem(send("POST", path, "[1]"), 400, "invalid", ["body"])
    assert api.post(path, {"reason": "x"}, headers=headers).status_code == 204
    for body in ("", "{}", "null"):
        assert send("POST", path, body).status_code == 204
    form = {"csrfmiddlewaretoken": "x"}
    assert client.post(path, form, headers={"Accept": "text/html"}).status_code == 200  # a page


def test_a_serializer_can_ignore_unknown_members(api, send, monkeypatch):
    monkeypatch.setattr(NoteSerializer, "is_strict", False)
    assert api.post("/api/notes", {**NOTE, "colour": "red", "id": 7}).status_code == 201
    assert_problem(send("POST", "/api/notes", '{"name": "A", "name": "B"}'), 400, "invalid", ["name"])


def test_a_form_of_a_browser_may_carry_its_csrf_token(client):
    form = {**NOTE, "text": "", "csrfmiddlewaretoken": "x"}
    assert client.post("/api/notes", form, headers={"Accept": "text/html"}).status_code == 201
    page = client.post("/api/notes", {**form, "colour": "red"}, headers={"Accept": "text/html"})
    assert page.status_code == 400
    assert "colour" in page.content.decode()


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
