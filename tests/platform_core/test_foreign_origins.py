"""Development is open to programs, and to local pages, but not to the pages of other sites."""

import pytest

from tests.wire import assert_problem

pytestmark = pytest.mark.django_db

LOCAL = [
    "http://localhost:3000",
    "https://localhost",
    "http://shop.localhost:8080",
    "http://127.0.0.1:5173",
    "http://127.1.2.3",
    "http://[::1]:8000",
    "http://testserver",
]
FOREIGN = [
    "https://evil.example.com",
    "null",
    "",
    "http://localhost.evil.com",
    "http://evil.com:8001",
    "http://localhost:80@evil.com",
    "http://127.0.0.1.evil.com",
    "http://127.0.0.1evil.com",
    "http://testserver.evil.com",
    "file://",
    "http://[::1",
]
NOTE = {"name": "Ann", "label": "ann@example.com", "text": "1 Elm Street"}


@pytest.mark.parametrize("origin", LOCAL)
def test_a_local_page_may_read_and_write(api, origin):
    made = api.post("/api/notes", NOTE, headers={"Origin": origin})
    assert made.status_code == 201
    read = api.get("/api/notes", headers={"Origin": origin})
    if origin != "http://testserver":
        assert read["Access-Control-Allow-Origin"] == origin


@pytest.mark.parametrize("header", ["traceparent", "tracestate", "baggage", "if-match", "idempotency-key"])
def test_a_local_page_may_send_the_headers_of_tracing_and_of_our_contract(api, header):
    headers = {"Origin": "http://localhost:5173", "Access-Control-Request-Method": "PUT"}
    answer = api.client.options("/api/notes/1", headers={**headers, "Access-Control-Request-Headers": header})
    assert answer.status_code == 200
    assert header in answer["Access-Control-Allow-Headers"].split(", ")


@pytest.mark.parametrize("origin", FOREIGN)
@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_a_page_of_another_site_may_not_write(api, note, origin, method):
    path = "/api/notes" if method == "post" else f"/api/notes/{note['id']}"
    answer = getattr(api, method)(path, NOTE, headers={"Origin": origin})
    assert_problem(answer, 403, "foreign_origin")
    assert api.get(f"/api/notes/{note['id']}").json() == note
    assert len(api.get("/api/notes").json()["results"]) == 1


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_page_of_another_site_cannot_read_the_answers(api, origin):
    assert not api.get("/api/notes", headers={"Origin": origin}).has_header("Access-Control-Allow-Origin")


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 201), ("same-origin", 201), ("none", 201)]
)
def test_without_an_origin_the_browsers_word_counts(api, site, status):
    assert api.post("/api/notes", NOTE, headers={"Sec-Fetch-Site": site}).status_code == status


def test_a_form_of_another_site_may_not_write(client):
    answer = client.post("/api/notes", NOTE, format="multipart", headers={"Origin": "https://evil.example.com"})
    assert answer.status_code == 403


def test_a_program_may_write(api):
    assert api.post("/api/notes", NOTE).status_code == 201


def test_an_origin_that_is_allowed_may_write(api, settings):
    settings.CORS_ALLOWED_ORIGINS = ["https://shop.example.com"]
    assert api.post("/api/notes", NOTE, headers={"Origin": "https://shop.example.com"}).status_code == 201


def test_in_production_the_token_decides(api, settings, production):
    answer = api.post("/api/notes", NOTE, headers={"Origin": "https://evil.example.com"})
    assert_problem(answer, 401, "not_authenticated")
