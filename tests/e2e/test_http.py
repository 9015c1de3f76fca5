"""Behaviour that needs a real server: bodies of every kind, CORS, unknown paths."""

import contextlib
import http.client
import json
import socket
import time

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


def test_a_browser_of_a_local_origin_may_call_in_development(shop):
    origin = {"Origin": "http://localhost:5173"}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "idempotency-key"}
    preflight = shop.ask("OPTIONS", ORDER, "/api/orders", headers={**origin, **asked})
    assert preflight.headers["Access-Control-Allow-Origin"] == origin["Origin"]
    assert "idempotency-key" in preflight.headers["Access-Control-Allow-Headers"]
    refused = shop.ask("POST", ORDER, "/api/orders", json={}, headers=origin)
    assert refused.status_code == 400
    assert refused.headers["Access-Control-Allow-Origin"] == origin["Origin"]


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


def whole_answer(connection: socket.socket) -> bytes:
    """Headers and body may come in pieces."""
    answer = b""
    while b"\r\n\r\n{" not in answer or not answer.endswith(b"}"):
        piece = connection.recv(65536)
        if not piece:
            break
        answer += piece
    return answer


def test_half_a_body_holds_a_thread_no_longer_than_its_deadline(stack, shop):
    """There are more half-sent bodies than threads. The service answers them and then all other requests."""
    half = (
        b"POST /api/users HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"X-Request-Timeout: 1\r\nContent-Length: 100\r\n\r\n{"
    )
    stalled = [socket.create_connection(("127.0.0.1", stack.ports["user_svc"]), timeout=30) for _ in range(12)]
    for connection in stalled:
        connection.sendall(half)
    answers = [whole_answer(connection) for connection in stalled]
    assert all(answer.startswith(b"HTTP/1.1 503") and b"deadline_exceeded" in answer for answer in answers)
    assert shop.ask("GET", USER, "/health/live").status_code == 200
    for connection in stalled:
        connection.close()


def test_a_truncated_body_is_refused(stack):
    with socket.create_connection(("127.0.0.1", stack.ports["user_svc"]), timeout=30) as connection:
        connection.sendall(
            b"POST /api/users HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b'Content-Length: 1000\r\n\r\n{"name": "Ann", "email": "early@example.com"}'
        )
        connection.shutdown(socket.SHUT_WR)
        answer = whole_answer(connection)
    assert answer.startswith(b"HTTP/1.1 400") and b"Content-Length" in answer


def test_a_body_that_trickles_ends_with_the_deadline_and_its_rest_is_no_request(stack):
    """The body looks like requests, and goes on after its deadline: none of them may be answered."""
    with socket.create_connection(("127.0.0.1", stack.ports["user_svc"]), timeout=30) as connection:
        connection.sendall(
            b"POST /api/users HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"X-Request-Timeout: 1\r\nContent-Length: 1000000\r\n\r\n"
        )
        connection.settimeout(0.001)
        answer, end = b"", time.monotonic() + 20
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < end:
                connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
                with contextlib.suppress(TimeoutError):
                    piece = connection.recv(65536)
                    if not piece:
                        break
                    answer += piece
    assert answer.startswith(b"HTTP/1.1 503")
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    ("method", "path", "media", "size", "status"),
    [
        ("POST", "/api/users", "application/json", 2_000_000, 413),
        ("POST", "/api/users", "text/plain", 900_000, 415),
        ("POST", "/no/such/thing", "application/json", 900_000, 404),
        ("POST", "/health", "application/json", 900_000, 405),
    ],
)
def test_an_unread_body_leaves_the_connection_usable(stack, method, path, media, size, status):
    connection = http.client.HTTPConnection("127.0.0.1", stack.ports["user_svc"], timeout=10)
    for _ in range(3):
        connection.request(method, path, b" " * size, {"Content-Type": media, "Accept": "application/json"})
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Content-Type")) == (status, PROBLEM)
        answer.read()
        connection.request("GET", "/health/live")
        assert connection.getresponse().read() == b'{"status": "ok"}'
    connection.close()


def test_headers_meant_for_a_proxy_change_nothing(shop):
    shop.made(USER, "/api/users", name="One", email="one@example.com")
    shop.made(USER, "/api/users", name="Two", email="two@example.com")
    headers = {"SCRIPT_NAME": "/api", "PATH_INFO": "/admin/", "X-Forwarded-Proto": "https", "X-Script-Name": "/x"}
    page = shop.get(USER, "/api/users?limit=1", headers=headers)
    assert page["next"].startswith("http://127.0.0.1")


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/metrics"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_read_only_routes_refuse_other_methods(shop, path, method):
    answer = shop.ask(method, ORDER, path)
    assert answer.status_code == 405
    assert answer.headers["Content-Type"] == PROBLEM
    assert answer.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /api/users HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 9000 + b"\r\n\r\n", b"431"),
        (b"POST /api/users HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
    ],
)
def test_bytes_that_are_not_http_are_refused_with_a_problem(stack, request_line, status):
    with socket.create_connection(("127.0.0.1", stack.ports["user_svc"]), timeout=10) as connection:
        connection.sendall(request_line)
        answer = connection.recv(65536)
    assert answer.split(b" ")[1] == status, answer
    assert PROBLEM.encode() in answer


def test_an_empty_accept_asks_for_nothing_in_particular(shop):
    assert shop.ask("GET", USER, "/api/users", headers={"Accept": ""}).status_code == 200


def test_head_answers_as_get_without_a_body(shop):
    got, head = (shop.ask(method, USER, "/api/users") for method in ("GET", "HEAD"))
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["Content-Length"] == got.headers["Content-Length"]
