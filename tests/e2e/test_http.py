"""What only a real server shows: bodies of every kind, CORS, unknown paths."""

import http.client
import json

import pytest

from platform_core.topology import ANALYTICS, BY_PACKAGE, ORDER, SERVICES, USER

PROBLEM = "application/problem+json"


def chunked(pieces: list[bytes]):
    yield from pieces


def test_a_body_in_chunks_is_taken_like_any_other(shop):
    body = json.dumps({"name": "Chunk", "email": "chunk@example.com"}).encode()
    headers = {"Content-Type": "application/json"}
    answer = shop.ask("POST", USER, "/api/users", data=chunked([body[:9], body[9:]]), headers=headers)
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("size", [1024 * 1024 + 1, 8 * 1024 * 1024])
@pytest.mark.parametrize("in_chunks", [False, True])
def test_a_body_over_one_mebibyte_is_refused_with_413(shop, size, in_chunks):
    body = b'{"name": "' + b"x" * size + b'"}'
    data = chunked([body[n : n + 65536] for n in range(0, len(body), 65536)]) if in_chunks else body
    answer = shop.ask("POST", USER, "/api/users", data=data, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.package)
def test_an_unknown_path_is_a_problem_for_clients_and_a_page_for_browsers(shop, service):
    answer = shop.ask("GET", service, "/no/such/thing")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == PROBLEM
    assert set(answer.json()) == {"type", "title", "status", "detail", "code", "requestId"}
    page = shop.ask("GET", service, "/no/such/thing", headers={"Accept": "text/html"})
    assert page.status_code == 404
    assert page.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.package)
@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics", "/api/schema", "/api/docs", "/api/"])
def test_every_service_answers_the_common_routes(shop, service, path):
    for variant in (path.rstrip("/"), path.rstrip("/") + "/"):
        assert shop.ask("GET", service, variant).status_code == 200


def test_a_browser_of_another_origin_may_call_in_development(shop):
    origin = {"Origin": "https://shop.example.com"}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "idempotency-key"}
    preflight = shop.ask("OPTIONS", ORDER, "/api/orders", headers={**origin, **asked})
    assert preflight.headers["Access-Control-Allow-Origin"] == "*"
    assert "idempotency-key" in preflight.headers["Access-Control-Allow-Headers"]
    refused = shop.ask("POST", ORDER, "/api/orders", json={}, headers=origin)
    assert refused.status_code == 400
    assert refused.headers["Access-Control-Allow-Origin"] == "*"


def test_a_malformed_length_or_host_is_a_problem(stack):
    for headers in ({"Content-Length": "abc"}, {"Host": "evil.example.com"}):
        connection = http.client.HTTPConnection("127.0.0.1", stack.ports["user_svc"], timeout=10)
        connection.putrequest("GET", "/api/users", skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        assert connection.getresponse().status == 400
        connection.close()


def test_health_says_how_long_the_service_has_been_up(shop):
    first, second = (shop.get(USER, "/health")["uptimeSeconds"] for _ in range(2))
    assert second >= first > 0


def test_metrics_count_requests_by_route(shop):
    shop.get(ANALYTICS, "/api/analytics/users")
    text = shop.ask("GET", ANALYTICS, "/metrics").text
    assert 'http_requests_total{method="GET",route="/api/analytics/users",status="200"}' in text


def test_service_names_are_the_topologys(shop):
    assert {shop.get(s, "/health")["service"] for s in BY_PACKAGE.values()} == {s.name for s in SERVICES}
