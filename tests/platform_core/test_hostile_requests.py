"""Hostile headers and paths have no effect."""

import pytest

from tests.people import as_user
from tests.wire import assert_problem

pytestmark = pytest.mark.django_db
INJECTIONS = [
    *("a\r\nSet-Cookie: x=1", "a\nX-Evil: 1", "a\rb", "a\0b", "a b", "é", "", " ", "a" * 129, "<script>", '"a"', "a;b"),
    *("../../etc/passwd", "${jndi:ldap://x}", "%0d%0aSet-Cookie:x", "a,b", "🔑"),
]


@pytest.mark.parametrize("value", INJECTIONS, ids=repr)
def test_a_request_id_cannot_inject_anything(client, value):
    answer = client.get("/api/orders", HTTP_X_REQUEST_ID=value)
    given = answer["X-Request-ID"]
    assert given != value
    assert len(given) == 32 and given.isalnum()
    assert "X-Evil" not in answer.headers
    assert not answer.cookies


@pytest.mark.parametrize("value", INJECTIONS, ids=repr)
def test_secrets_of_a_token_do_not_reach_the_peers(client, peers, settings, value):
    seen = []
    peers.add_callback(
        "GET", settings.PEER_URLS["user-service"] + "/api/users/1", lambda r: seen.append(r) or (404, {}, "{}")
    )
    body = {"userId": 1, "productId": 1, "quantity": 1}
    client.post("/api/orders", body, "application/json", HTTP_X_REQUEST_ID=value, HTTP_TRACEPARENT=value)
    (request,) = seen
    assert request.headers["X-Request-ID"] != value
    assert "evil" not in str(request.headers).lower()


PATHS = [
    *("/api/orders/..%2f1", "/api/orders/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/api/orders/..", "/api/orders/../users/1"),
    *("/api/orders/%00", "/api/orders/1%00", "/api/orders/%D9%A1", "/api/orders/%EF%BC%91", "/api/orders/%C2%B2"),
    *("/api/orders/1%20", "/api/orders/%201", "/api/orders/+1", "/api/orders/-1", "/api/orders/1.0", "/api/orders/0x1"),
    *(
        "/api/orders/1e1",
        "/api/orders/1_0",
        "/api/orders/1;x=1",
        "/api/orders/1%3fx",
        "/api/orders/1%23",
        "/api/orders/*",
    ),
    *("/api/orders/" + "9" * 19, "/api/orders/" + "9" * 20, "/api/orders/" + "9" * 4000, "/api/orders/%FF%FE"),
    *("/api/orders/user/%00", "/api/orders/user/..%2f1", "/api/orders/user/%D9%A1", "//api/orders/1", "/api//orders/1"),
    *("/API/orders/1", "/api/orders/1/cancel/../../2", "/api/orders/1%0a", "/api/orders/1\n"),
]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:40])
@pytest.mark.parametrize("roles", [(), ("admin",)], ids=str)
def test_an_unknown_path_is_404(api, production, path, roles):
    assert_problem(api.get(path, as_user(1, *roles)), 404, "not_found")


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:40])
def test_an_unknown_path_reveals_nothing_to_anonymous_callers(api, production, path):
    assert api.get(path).status_code in (401, 404)


@pytest.mark.parametrize(
    "path", ["/api/orders/1", "/api/orders/999999", "/api/orders/user/1", "/api/orders", "/api/events"]
)
def test_anonymous_callers_cannot_find_out_which_resources_exist(api, production, path):
    assert_problem(api.get(path), 401, "not_authenticated")


@pytest.mark.parametrize(
    "method", ["TRACE", "CONNECT", "PROPFIND", "GET\r\n", "FOO", "get_queryset", "handler", "__class__"]
)
def test_an_unknown_method_does_nothing(api, production, method):
    answer = api.client.generic(method, "/api/orders", headers=as_user(1))
    assert answer.status_code == 405


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_a_method_is_not_overridden(api, production, header):
    assert_problem(api.post("/api/orders", {}, headers=as_user(1, **{header: "GET"})), 400, "invalid")
    answer = api.client.post("/api/orders?_method=GET", {"_method": "GET"}, format="json", headers=as_user(1))
    assert_problem(answer, 400, "invalid")


@pytest.mark.parametrize("header", ["X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Forwarded-Path"])
def test_a_path_is_not_overridden(api, production, header):
    assert_problem(api.get("/api/orders/1", {header: "/health"}), 401, "not_authenticated")


@pytest.mark.parametrize("name", ["X-User-ID", "X-User", "X-Forwarded-User", "Remote-User", "X-Roles", "X-Caller"])
def test_claims_about_the_caller_in_headers_are_ignored(api, production, name):
    assert_problem(api.get("/api/orders", {name: "admin"}), 401, "not_authenticated")


def test_a_token_in_the_query_or_a_cookie_is_ignored(api, production):
    token = as_user(1)["Authorization"].removeprefix("Bearer ")
    for query in (f"?access_token={token}", f"?token={token}"):
        answer = api.get("/api/orders" + query)
        assert answer.status_code in (400, 401)
    api.client.cookies["access"] = token
    assert_problem(api.get("/api/orders"), 401, "not_authenticated")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "localhost@evil.example", "a b", "<script>", ""])
def test_an_unknown_host_is_refused(client, production, settings, host):
    settings.ALLOWED_HOSTS = ["shop.example.com"]
    answer = client.get("/api/orders", HTTP_HOST=host, headers=as_user(1))
    assert answer.status_code == 400 or host == ""
    if answer.status_code == 400:
        assert [(error["field"], error["code"]) for error in answer.json()["errors"]] == [("Host", "unknown_host")]
    assert "evil" not in str(answer.headers.get("Location", ""))
