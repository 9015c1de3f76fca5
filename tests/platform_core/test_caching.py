"""What may be kept of an answer, which names a host, and what strangers learn of the state of a service."""

import pytest
from django.db import OperationalError, connection
from django.test import Client

from tests import people
from tests.wire import assert_problem

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("path", ["/api/notes", "/api/notes/0", "/nowhere", "/health", "/metrics", "/api/events"])
def test_answers_that_depend_on_the_caller_are_not_stored(api, path):
    assert api.get(path)["Cache-Control"] == "no-store"


def test_a_resource_with_a_version_is_kept_by_the_callers_cache_alone(api, note):
    path = f"/api/notes/{note['id']}"
    answer = api.get(path)
    assert answer["Cache-Control"] == "private, no-cache"
    unchanged = api.get(path, headers={"If-None-Match": answer["ETag"]})
    assert (unchanged.status_code, unchanged["Cache-Control"]) == (304, "private, no-cache")


def test_a_write_is_not_stored(api, note):
    assert "no" in api.patch(f"/api/notes/{note['id']}", {"name": "Bob"})["Cache-Control"]


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/metrics"])
@pytest.mark.parametrize("host", ["10.1.2.3:8001", "evil.example.com", "[fd00::1]"])
def test_health_and_metrics_answer_under_any_host(client, path, host):
    assert client.get(path, HTTP_HOST=host).status_code == 200


def test_other_paths_do_not(client):
    assert client.get("/api/notes", HTTP_HOST="evil.example.com").status_code == 400
    assert client.get("/healthy", HTTP_HOST="evil.example.com").status_code in (400, 404)


@pytest.mark.parametrize("path", ["/api/notes", "/health"])
def test_http_1_1_needs_a_host(client, path):
    del client.defaults["HTTP_HOST"]
    assert_problem(client.get(path), 400, "invalid", ["Host"])
    assert client.get(path, SERVER_PROTOCOL="HTTP/1.0").status_code == 200


DETAILS = {"status", "service", "version", "mode", "uptimeSeconds", "checks"}


def test_in_development_everybody_sees_the_state(api):
    assert set(api.get("/health").json()) == DETAILS


def test_in_production_strangers_see_the_status_alone(api, production):
    for headers in ({}, people.bearer("nonsense"), people.as_user(7)):
        assert set(api.get("/health", headers=headers).json()) == {"status", "service"}


def test_in_production_staff_services_and_the_scraper_see_the_state(api, production, settings):
    settings.METRICS_TOKEN = "scrape-me"
    service = people.bearer(people.service_token("analytics-service", "order-service"))
    for headers in (people.bearer("scrape-me"), people.as_user(7, "admin"), service):
        assert set(api.get("/health", headers=headers).json()) == DETAILS


def test_djangos_own_test_client_needs_none_and_leaves_the_next_test_alone(api):
    assert Client().get("/api/notes").status_code == 200
    assert api.post("/api/notes", {"name": "Ann", "label": "a@b.example", "text": "x"}).status_code == 201


@pytest.mark.parametrize("headers", [people.as_user(7), people.as_user(7, "admin"), people.bearer("nonsense"), {}])
def test_in_production_health_answers_503_when_the_database_is_down(client, production, settings, monkeypatch, headers):
    """Whoever asks: to find out who it is may need the database, too."""

    def gone(*args, **kwargs):
        raise OperationalError("gone")

    monkeypatch.setattr(connection, "cursor", gone)
    monkeypatch.setattr("platform_core.observability.health.identify", gone)
    client.cookies[settings.SESSION_COOKIE_NAME] = "x" * 32
    monkeypatch.setattr("django.contrib.sessions.backends.db.SessionStore._get_session_from_db", gone)
    answer = client.get("/health", headers=headers)
    assert (answer.status_code, answer.json()) == (503, {"status": "down", "service": "order-service"})
