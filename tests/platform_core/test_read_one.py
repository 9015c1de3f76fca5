"""Reads of one resource: id, path, version. Tested with notes."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire import assert_problem

pytestmark = pytest.mark.django_db

NO_IDS = [
    *("0", "9223372036854775807", "9223372036854775808", "9" * 30, "9" * 5000),
    *("abc", "-1", "+1", "1.0", "1e0", "0x1", "1%20", "%201", "%D9%A1", "%EF%BC%91", "%00", "1%00", "1%0A", "1,2"),
    *("%C2%B2", "null", "me ", "..", "%2E%2E", "1%2F2"),
]


def test_it_answers_with_the_resource(api, note):
    answer = api.get(f"/api/notes/{note['id']}")
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/json"
    assert answer.json() == note
    assert answer["ETag"] == '"1"'


@pytest.mark.parametrize("path", ["/api/notes", "/api/notes/{id}"])
def test_a_trailing_slash_makes_no_difference(api, note, path):
    path = path.format(**note)
    assert api.get(path + "/").json() == api.get(path).json()


@pytest.mark.parametrize("pk", NO_IDS)
@pytest.mark.parametrize("method", ["get", "patch"])
def test_an_invalid_id_is_404(api, note, pk, method):
    body = [{"name": "X"}] if method == "patch" else []
    assert_problem(getattr(api, method)(f"/api/notes/{pk}", *body), 404, "not_found")
    assert_problem(getattr(api, method)(f"/api/notes/{pk}/", *body), 404, "not_found")


@given(
    pk=st.text(min_size=1, max_size=25)
    | st.integers().map(str)
    | st.from_regex(r"[0-9]{1,30}", fullmatch=True)
    | st.text(st.characters(categories=["Nd"]), min_size=1, max_size=3)
)
def test_any_text_as_id_gives_the_note_or_404(api, note, pk):
    answer = api.get(f"/api/notes/{quote(pk, safe='')}")
    if pk.isascii() and pk.isdigit() and int(pk) == int(note["id"]):
        assert answer.json() == note
    elif pk != "/":
        assert_problem(answer, 404, "not_found")


@pytest.mark.parametrize(
    "path",
    ["/nope", "/api/nope", "/api/notes/1/nope", "/api/notes//", "/api//notes", "/API/notes", "/api/notes/1/2", "/%00"],
)
def test_an_unknown_path_is_a_problem_too(api, path):
    assert_problem(api.get(path), 404, "not_found")


@pytest.mark.parametrize("path", ["/api/notes", "/api/notes/{id}", "/api/events", "/health"])
def test_head_answers_like_get_without_a_body(api, note, path):
    path = path.format(**note)
    got, head = api.get(path), api.head(path)
    assert head.status_code == got.status_code == 200
    assert head["Content-Type"] == got["Content-Type"]
    assert head.content == b""
    assert head.headers.get("ETag") == got.headers.get("ETag")


@pytest.mark.parametrize(
    "tag", ['"1"', 'W/"1"', "*", " * ", '"7", "1"', 'W/"7",W/"1"', '"a,b","1"', '"7" , "1" ', '"", "1"']
)
def test_if_none_match_with_the_present_version_is_304(api, note, tag):
    for method in (api.get, api.head):
        answer = method(f"/api/notes/{note['id']}", headers={"If-None-Match": tag})
        assert answer.status_code == 304
        assert answer.content == b""
        assert answer["ETag"] == '"1"'


@pytest.mark.parametrize(
    "tag", ['"2"', '"11"', "1", "garbage", "", '"1', 'w/"1"', '"01"', '"1 "', "'1'", "\xff", '"*"']
)
def test_if_none_match_with_another_version_returns_the_resource(api, note, tag):
    answer = api.get(f"/api/notes/{note['id']}", headers={"If-None-Match": tag})
    assert answer.status_code == 200
    assert answer.json() == note


def test_if_none_match_on_a_deleted_resource_is_404(api, note):
    api.delete(f"/api/notes/{note['id']}")
    assert_problem(api.get(f"/api/notes/{note['id']}", headers={"If-None-Match": "*"}), 404, "not_found")


def test_a_browser_gets_pages(api, note):
    for path in ("/api/notes", f"/api/notes/{note['id']}", "/api/", "/api/events", "/nope", "/api/notes/0"):
        page = api.client.get(path, HTTP_ACCEPT="text/html,application/xhtml+xml,*/*;q=0.8")
        assert page["Content-Type"].startswith("text/html"), path
        assert page.status_code == (404 if path in ("/nope", "/api/notes/0") else 200)
    assert "Ann" in api.client.get("/api/notes", HTTP_ACCEPT="text/html").content.decode()


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "</pre><img src=x onerror=alert(1)>"])
def test_a_browser_runs_nothing_that_a_name_brings(api, name):
    api.post("/api/notes", {"name": name, "label": "x@example.com"})
    page = api.client.get("/api/notes", HTTP_ACCEPT="text/html").content.decode()
    assert "&lt;" in page
    assert name not in page
