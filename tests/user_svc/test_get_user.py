"""GET /api/users/{id}."""

import pytest

from tests.wire import assert_problem

pytestmark = pytest.mark.django_db


def test_it_returns_a_user(api, ann):
    answer = api.get(f"/api/users/{ann['id']}")
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/json"
    assert answer.json() == ann
    assert answer["ETag"] == '"1"'


@pytest.mark.parametrize("path", ["/api/users", "/api/users/{id}"])
def test_a_trailing_slash_makes_no_difference(api, ann, path):
    path = path.format(**ann)
    assert api.get(path + "/").json() == api.get(path).json()


@pytest.mark.parametrize("pk", ["0", "9223372036854775808", "abc"])
@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_a_missing_user_is_404(api, ann, pk, method):
    body = [{"name": "X", "email": "x@example.com"}] if method in ("put", "patch") else []
    assert_problem(getattr(api, method)(f"/api/users/{pk}", *body), 404, "not_found")


def test_if_none_match_with_the_present_version_is_304(api, ann):
    assert api.get(f"/api/users/{ann['id']}", headers={"If-None-Match": '"1"'}).status_code == 304
    assert api.get(f"/api/users/{ann['id']}", headers={"If-None-Match": '"2"'}).json() == ann


def test_if_none_match_on_a_deleted_user_is_404(api, ann):
    api.delete(f"/api/users/{ann['id']}")
    assert_problem(api.get(f"/api/users/{ann['id']}", headers={"If-None-Match": "*"}), 404, "not_found")


def test_a_browser_gets_pages(api, ann):
    for path in ("/api/users", f"/api/users/{ann['id']}", "/api/users/0"):
        page = api.client.get(path, HTTP_ACCEPT="text/html,application/xhtml+xml,*/*;q=0.8")
        assert page["Content-Type"].startswith("text/html"), path
        assert page.status_code == (404 if path == "/api/users/0" else 200)
    assert "Ann" in api.client.get("/api/users", HTTP_ACCEPT="text/html").content.decode()


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "</pre><img src=x onerror=alert(1)>"])
def test_a_browser_runs_nothing_that_a_name_brings(api, name):
    api.post("/api/users", {"name": name, "email": "x@example.com"})
    page = api.client.get("/api/users", HTTP_ACCEPT="text/html").content.decode()
    assert "&lt;" in page
    assert name not in page
