"""Authentication between services, and the user for whom a service calls."""

import re
import time

import pytest
from joserfc.jws import extract_compact

from platform_core.auth import tokens
from platform_core.auth.identity import Kind
from platform_core.auth.tokens import BadToken, identify
from platform_core.clients.engine import call
from platform_core.clients.errors import CallerRefused
from platform_core.clients.users import get_user
from platform_core.http import context
from platform_core.http.context import Context, entered
from platform_core.topology import BY_NAME
from tests import people
from tests.people import as_user, bearer, service_claims, service_token, signed
from tests.wire import assert_problem

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def keys(settings):
    """Gives order-service its private key and all public keys."""
    settings.SERVICE_KEY = people.private_service_key("order-service")
    settings.SERVICE_KEYS = people.public_service_keys()
    settings.ACCOUNTS = "tests.people"
    tokens.forget()
    yield
    tokens.forget()


@pytest.fixture
def asked(peers, settings):
    """The requests to the peers, which answer with a known user."""
    requests = []

    def answer(request):
        requests.append(request)
        return 200, {}, '{"id": "1", "name": "Ann", "email": "ann@example.com"}'

    for url in settings.PEER_URLS.values():
        peers.add_callback("GET", re.compile(re.escape(url) + "/.*"), callback=answer)
        peers.add_callback("POST", re.compile(re.escape(url) + "/.*"), callback=answer)
    return requests


@pytest.fixture
def seen_by(settings):
    """The caller, as a callee identifies it."""

    def seen_by(service, request):
        settings.SERVICE = BY_NAME[service]
        try:
            return identify(request.headers["Authorization"].removeprefix("Bearer "))
        finally:
            settings.SERVICE = BY_NAME["order-service"]

    return seen_by


def claims_of(request):
    import json

    token = extract_compact(request.headers["Authorization"].removeprefix("Bearer ").encode())
    return json.loads(token.payload)


@pytest.mark.parametrize("peer", ["user-service", "product-service", "notification-service"])
def test_each_call_is_signed_for_the_one_that_is_called(asked, seen_by, peer):
    call(peer, "GET", "/x")
    (request,) = asked
    caller = seen_by(peer, request)
    assert (caller.kind, caller.subject, caller.on_behalf_of) == (Kind.SERVICE, "order-service", "")
    for other in BY_NAME.keys() - {peer}:
        with pytest.raises(BadToken):
            seen_by(other, request)


def test_a_signature_is_valid_for_one_minute(asked):
    call("user-service", "GET", "/x")
    claims = claims_of(asked[0])
    assert claims["exp"] - claims["iat"] == 60
    assert abs(claims["iat"] - time.time()) < 5
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("order-service", "order-service", "user-service")


def test_a_call_carries_the_user_it_acts_for(asked, seen_by):
    with entered(Context()):
        context.called_by("user:7", "7")
        get_user(7)
    assert seen_by("user-service", asked[0]).on_behalf_of == "7"


def test_the_acting_user_is_passed_on_through_services(api, settings, asked, seen_by):
    settings.PLATFORM_ENV = "production"
    api.post("/api/orders", {"userId": 7, "productId": 1, "quantity": 1}, headers=as_user(7))
    assert asked
    assert {seen_by("user-service", request).on_behalf_of for request in asked[:1]} == {"7"}


def test_the_callers_own_token_is_never_passed_on(api, settings, asked):
    settings.PLATFORM_ENV = "production"
    headers = as_user(7)
    api.post("/api/orders", {"userId": 7, "productId": 1, "quantity": 1}, headers=headers)
    assert asked
    assert all(headers["Authorization"] not in str(request.headers) for request in asked)


def test_one_request_leaves_nothing_behind_for_the_next(api, settings, asked, seen_by):
    settings.PLATFORM_ENV = "production"
    body = {"productId": 1, "quantity": 1}
    api.post("/api/orders", {**body, "userId": 7}, headers=as_user(7))
    first = len(asked)
    api.post("/api/orders", {**body, "userId": 7}, headers=as_user(9, "orders"))
    assert seen_by("user-service", asked[0]).on_behalf_of == "7"
    assert seen_by("user-service", asked[first]).on_behalf_of == "9"
    assert context.current().user == ""


def test_in_development_services_without_keys_sign_nothing(settings, asked):
    settings.SERVICE_KEY = ""
    call("user-service", "GET", "/x")
    assert "Authorization" not in asked[0].headers


def test_a_key_that_is_given_is_used_in_development_too(asked, settings):
    assert settings.PLATFORM_ENV == "development"
    call("user-service", "GET", "/x")
    assert "Authorization" in asked[0].headers


def test_no_private_half_leaves_the_service(asked):
    call("user-service", "POST", "/x", body={})
    secret = people.SERVICE_KEYS["order-service"].as_dict(private=True)["d"]
    assert secret not in str(asked[0].headers) + str(asked[0].body) + people.public_service_keys()


def test_a_401_from_a_peer_refuses_this_service(peers, settings):
    body = '{"code": "not_authenticated", "detail": "No."}'
    peers.add("GET", settings.PEER_URLS["user-service"] + "/api/users/1", body, status=401)
    with pytest.raises(CallerRefused) as refused:
        get_user(1)
    assert refused.value.status == 401
    assert refused.value.detail == "refuses order-service's credentials (401: No.)"


@pytest.fixture
def ours(api, settings):
    """The feed of this service, which is for analytics-service and the staff."""
    settings.PLATFORM_ENV = "production"
    return lambda headers: api.get("/api/events", headers)


def test_a_callee_knows_its_callers(ours):
    assert ours(bearer(service_token("analytics-service", "order-service"))).status_code == 200
    assert_problem(ours(bearer(service_token("product-service", "order-service"))), 403, "permission_denied")
    assert_problem(ours({}), 401, "not_authenticated")


def test_a_token_for_one_service_opens_no_other(ours):
    for callee in BY_NAME.keys() - {"order-service"}:
        answer = ours(bearer(service_token("analytics-service", callee)))
        assert_problem(answer, 401, "not_authenticated")


def test_a_service_does_not_speak_for_another(ours):
    """product-service claims to be analytics-service, with its own key id and with a foreign one."""
    claims = service_claims("analytics-service", "order-service")
    key = people.SERVICE_KEYS["product-service"]
    for kid in (key.kid, people.SERVICE_KEYS["analytics-service"].kid, "analytics-service", "analytics-service."):
        token = signed(claims, key, typ="service+jwt", kid=kid)
        assert_problem(ours(bearer(token)), 401, "not_authenticated")


def test_a_service_that_acts_for_a_user_does_not_get_the_users_rights(api, settings):
    settings.PLATFORM_ENV = "production"
    headers = bearer(service_token("analytics-service", "order-service", on_behalf_of="7", roles=["admin"]))
    assert_problem(api.get("/api/orders/user/7", headers), 403, "permission_denied")


def test_missing_public_keys_of_services_give_503(ours, settings):
    for missing in ("", "{}", "[]", '{"keys": 5}'):
        settings.SERVICE_KEYS = missing
        assert_problem(ours(bearer(service_token("analytics-service", "order-service"))), 503, "unavailable")


def test_a_service_whose_key_was_withdrawn_is_not_known(ours, settings):
    import json

    left = [key for key in json.loads(people.public_service_keys())["keys"] if "analytics" not in key["kid"]]
    settings.SERVICE_KEYS = json.dumps({"keys": left})
    assert_problem(ours(bearer(service_token("analytics-service", "order-service"))), 401, "not_authenticated")
