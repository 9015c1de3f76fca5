"""GET /api/users/{id}."""

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


def test_it_tells_a_user(api, ann):
    answer = api.get(f"/api/users/{ann['id']}")
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/json"
    assert answer.json() == ann
    assert answer["ETag"] == '"1"'


@pytest.mark.parametrize("path", ["/api/users", "/api/users/{id}"])
def test_a_trailing_slash_makes_no_difference(api, ann, path):
    path = path.format(**ann)
    assert api.get(path + "/").json() == api.get(path).json()


@pytest.mark.parametrize("pk", NO_IDS)
@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_what_is_no_id_is_not_found(api, ann, pk, method):
    body = [{"name": "X", "email": "x@example.com"}] if method in ("put", "patch") else []
    assert_problem(getattr(api, method)(f"/api/users/{pk}", *body), 404, "not_found")
    assert_problem(getattr(api, method)(f"/api/users/{pk}/", *body), 404, "not_found")


@given(
    pk=st.text(min_size=1, max_size=25)
    | st.integers().map(str)
    | st.from_regex(r"[0-9]{1,30}", fullmatch=True)
    | st.text(st.characters(categories=["Nd"]), min_size=1, max_size=3)
)
def test_whatever_stands_for_an_id_it_is_this_user_or_not_found(api, ann, pk):
    answer = api.get(f"/api/users/{quote(pk, safe='')}")
    if pk.isascii() and pk.isdigit() and int(pk) == int(ann["id"]):
        assert answer.json() == ann
    elif pk != "/":
        assert_problem(answer, 404, "not_found")


@pytest.mark.parametrize(
    "path",
    ["/nope", "/api/nope", "/api/users/1/nope", "/api/users//", "/api//users", "/API/users", "/api/users/1/2", "/%00"],
)
def test_an_unknown_path_is_a_problem_too(api, path):
    assert_problem(api.get(path), 404, "not_found")


@pytest.mark.parametrize("path", ["/api/users", "/api/users/{id}", "/api/events", "/health"])
def test_head_answers_like_get_without_a_body(api, ann, path):
    path = path.format(**ann)
    got, head = api.get(path), api.head(path)
    assert head.status_code == got.status_code == 200
    assert head["Content-Type"] == got["Content-Type"]
    assert head.content == b""
    assert head.headers.get("ETag") == got.headers.get("ETag")


@pytest.mark.parametrize(
    "tag", ['"1"', 'W/"1"', "*", " * ", '"7", "1"', 'W/"7",W/"1"', '"a,b","1"', '"7" , "1" ', '"", "1"']
)
def test_who_has_the_present_version_is_told_304(api, ann, tag):
    for method in (api.get, api.head):
        answer = method(f"/api/users/{ann['id']}", headers={"If-None-Match": tag})
        assert answer.status_code == 304
        assert answer.content == b""
        assert answer["ETag"] == '"1"'


@pytest.mark.parametrize(
    "tag", ['"2"', '"11"', "1", "garbage", "", '"1', 'w/"1"', '"01"', '"1 "', "'1'", "\xff", '"*"']
)
def test_who_has_another_version_gets_the_user(api, ann, tag):
    answer = api.get(f"/api/users/{ann['id']}", headers={"If-None-Match": tag})
    assert answer.status_code == 200
    assert answer.json() == ann


def test_who_has_a_version_of_a_deleted_user_is_told_that_it_is_gone(api, ann):
    api.delete(f"/api/users/{ann['id']}")
    assert_problem(api.get(f"/api/users/{ann['id']}", headers={"If-None-Match": "*"}), 404, "not_found")


def test_a_browser_gets_pages(api, ann):
    for path in ("/api/users", f"/api/users/{ann['id']}", "/api/", "/api/events", "/nope", "/api/users/0"):
        page = api.client.get(path, HTTP_ACCEPT="text/html,application/xhtml+xml,*/*;q=0.8")
        assert page["Content-Type"].startswith("text/html"), path
        assert page.status_code == (404 if path in ("/nope", "/api/users/0") else 200)
    assert "Ann" in api.client.get("/api/users", HTTP_ACCEPT="text/html").content.decode()


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "</pre><img src=x onerror=alert(1)>"])
def test_a_browser_runs_nothing_that_a_name_brings(api, name):
    api.post("/api/users", {"name": name, "email": "x@example.com"})
    page = api.client.get("/api/users", HTTP_ACCEPT="text/html").content.decode()
    assert "&lt;" in page
    assert name not in page
