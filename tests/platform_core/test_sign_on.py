"""One sign-in for all admins, as the asking service sees it: where it sends browsers, and which tickets it takes."""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.utils.timezone import now

from platform_core.auth import staff, tickets, tokens
from platform_core.auth.sign_on import local_path
from platform_core.auth.tickets import state_of
from platform_core.models import RedeemedTicket
from platform_core.topology import ORDER, PRODUCT, USER
from tests import people
from tests.clients import HOST, Browser
from tests.wire import assert_problem, at_once

pytestmark = pytest.mark.django_db
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
LOGIN, REDEEM, COOKIE = "/admin/login/", "/admin/signed-on/", "order_sign_on"
SESSION = "7a1b2c3d-0000-4000-8000-000000000001"
OLA = 9


class UserService:
    """A fake user-service with one account, and sessions that may end."""

    def __init__(self) -> None:
        self.roles, self.stamp = ["orders"], "first"
        self.ended: set[str] = set()
        self.asked: list[str] = []
        self.down = False

    def answer(self, request):
        path = urlsplit(request.url).path
        self.asked.append(f"{request.method} {path}")
        if self.down:
            raise requests.exceptions.ConnectionError("refused")
        if path == "/health":
            return 200, {}, json.dumps({"status": "ok", "service": "user-service"})
        if path.endswith("jwks.json"):
            return 200, {}, json.dumps(people.key_set())
        session = path.rpartition("/sessions/")[2]
        if request.method == "DELETE":
            self.ended.add(session)
            return 204, {}, ""
        if session in self.ended:
            return self.problem("session_ended")
        if not self.roles:
            return self.problem("not_found")
        account = {"id": str(OLA), "name": "Ola", "email": "ola@example.com", "roles": self.roles, "stamp": self.stamp}
        return 200, {}, json.dumps(account)

    def problem(self, code: str):
        return 404, {"Content-Type": "application/problem+json"}, json.dumps({"code": code, "detail": "No."})


@pytest.fixture(autouse=True)
def users(settings, peers):
    there = UserService()
    url = re.compile(re.escape(settings.PEER_URLS["user-service"]) + "/.*")
    for method in ("GET", "DELETE"):
        peers.add_callback(method, url, callback=there.answer)
    staff._asked.clear()
    tokens.forget()
    yield there
    tokens.forget()


@pytest.fixture
def later():
    """Lets a minute pass, so that sessions are asked for again."""
    return staff._asked.clear


def begin(browser, following: str = "/admin/"):
    """Opens the sign-in; returns the query with which user-service is asked."""
    answer = browser.get(LOGIN, {"next": following}, headers=HTML)
    assert answer.status_code == 302
    return {name: values[0] for name, values in parse_qs(urlsplit(answer["Location"]).query).items()}


def ticket(asked: str, key=people.KEY, seconds: int = 30, typ: str = "ticket+jwt", **claims) -> str:
    issued = int(time.time())
    whole = {
        "iss": "user-service",
        "aud": "order-service",
        "sub": str(OLA),
        "sid": SESSION,
        "next": "/admin/",
        "state": asked,
        "jti": f"j{time.monotonic_ns()}",
        "until": issued + 3600,
        "iat": issued,
        "nbf": issued,
        "exp": issued + seconds,
        **claims,
    }
    return people.signed({name: value for name, value in whole.items() if value is not None}, key, typ=typ)


def redeem(browser, token: str):
    return browser.get(REDEEM, {"ticket": token}, headers=HTML)


def is_in(browser) -> bool:
    return browser.get("/admin/", headers=HTML).status_code == 200


@pytest.fixture
def ola(client):
    """A browser that is signed in by a ticket."""
    answer = redeem(client, ticket(begin(client)["state"]))
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")
    return client


def assert_refused(browser, token: str, words: str = "was refused"):
    answer = redeem(browser, token)
    assert answer.status_code == 400
    assert words in answer.content.decode()
    assert not is_in(browser)
    assert not Session.objects.exists()


# Where the browser is sent.


def test_a_browser_goes_to_user_service_and_comes_back_to_its_page(client):
    asked = client.get("/admin/order_svc/order/?q=1", headers=HTML)
    to_sign_in = client.get(asked["Location"], headers=HTML)
    assert to_sign_in["Location"].startswith(f"http://{HOST}:{USER.port}/admin/sign-on/?service=order-service&state=")
    cookie = client.cookies[COOKIE]
    state = parse_qs(urlsplit(to_sign_in["Location"]).query)["state"][0]
    assert state == state_of(cookie.value.partition(".")[0])
    answer = redeem(client, ticket(state, next="/admin/order_svc/order/?q=1"))
    assert (answer.status_code, answer["Location"]) == (302, "/admin/order_svc/order/?q=1")
    assert is_in(client)
    assert User.objects.get().username == f"staff:{OLA}"


def test_the_cookie_is_for_this_service_and_short(client, settings):
    begin(client)
    cookie = client.cookies[COOKIE]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["secure"]) == (True, "Lax", "/", "")
    assert cookie["max-age"] == 3600
    settings.SESSION_COOKIE_SECURE = True
    browser = Browser()
    begin(browser)
    assert browser.cookies[f"__Host-{COOKIE}"]["secure"]


def test_the_address_of_user_service_is_the_configured_one(client, settings):
    settings.PUBLIC_URLS = {**settings.PUBLIC_URLS, "user-service": "https://users.example.com"}
    answer = client.get(LOGIN, headers=HTML)
    assert answer["Location"].startswith("https://users.example.com/admin/sign-on/?")


@pytest.mark.parametrize("headers", [{"Accept": "*/*"}, {"Accept": "application/json"}, {}])
def test_programs_get_the_form(client, headers, users):
    assert b'name="password"' in client.get(LOGIN, headers=headers).content
    assert not users.asked


def test_the_local_form_is_shown_on_request(client, users):
    page = client.get(LOGIN, {"local": "", "next": "/admin/events/event/"}, headers=HTML).content.decode()
    assert "local accounts of order-service" in page
    assert "/admin/login/?next=%2Fadmin%2Fevents%2Fevent%2F" in page
    assert not users.asked


def test_the_form_is_shown_while_user_service_is_down_and_a_local_superuser_signs_in(client, users, admin_user):
    users.down = True
    page = client.get(LOGIN, headers=HTML)
    assert page.status_code == 200
    assert "user-service does not answer" in page.content.decode()
    answer = client.post(LOGIN, {"username": "admin", "password": "password", "next": "/admin/"}, headers=HTML)
    assert answer.status_code == 302
    assert is_in(client)


def test_in_production_without_the_address_of_user_service_the_form_is_shown(client, settings, users):
    settings.PLATFORM_ENV = "production"
    assert client.get(LOGIN, headers=HTML).status_code == 200
    assert not users.asked


def test_who_is_signed_in_goes_on_to_the_page(ola):
    answer = ola.get(LOGIN, {"next": "/orders/1/explain"}, headers=HTML)
    assert answer["Location"] == "/orders/1/explain"


def test_a_browser_that_loses_its_session_each_time_is_told_so(client):
    for _ in range(10):
        begin(client)
    answer = client.get(LOGIN, headers=HTML)
    assert answer.status_code == 400
    assert "lost the session each time" in answer.content.decode()
    secret, _, _ = client.cookies[COOKIE].value.split(".")
    client.cookies[COOKIE] = f"{secret}.{int(time.time()) - 121}.10"
    begin(client)


@pytest.mark.parametrize(
    "cookie",
    ["", "short", "x" * 43, "x" * 43 + ".a.b", f"{'x' * 43}.²", f"{'x' * 43}.{'9' * 5000}.1", "." * 9, "é" * 40],
)
def test_any_cookie_can_begin(client, cookie):
    client.cookies[COOKIE] = cookie
    state = begin(client)["state"]
    assert redeem(client, ticket(state)).status_code == 302


PATHS = (
    *("//evil.example", "///evil.example", "https://evil.example/", "https:evil.example", "http:///evil.example"),
    *("/\\evil.example", "\\\\evil.example", "%2f%2fevil.example", "\t//evil.example", "/\t/evil.example", ""),
    *("/x\r\nLocation: //evil.example", "/x\x00", "javascript:alert(1)", "evil.example", "/" + "x" * 1500),
)


@pytest.mark.parametrize("path", PATHS)
def test_the_way_back_is_a_path_of_this_service(client, path):
    query = begin(client, path)
    assert query["next"] == "/admin/"
    answer = redeem(client, ticket(query["state"], next=path or "//"))
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")


def test_paths_with_a_query_stay_as_they_are():
    for path in ("/", "/admin/x/?q=a%2Fb&o=-1", "/orders/1/explain", "/x?next=https://example.com/"):
        assert local_path(path) == path


# Tickets.


def test_a_ticket_works_once(client):
    state = begin(client)["state"]
    token, cookie = ticket(state), client.cookies[COOKIE].value
    assert redeem(client, token).status_code == 302
    thief = Browser()
    thief.cookies[COOKIE] = cookie
    answer = redeem(thief, token)
    assert answer.status_code == 400
    assert "It was used before." in answer.content.decode()
    assert not is_in(thief)


@pytest.mark.django_db(transaction=True)
def test_of_several_requests_at_once_one_redeems_the_ticket(client):
    token, cookie = ticket(begin(client)["state"]), client.cookies[COOKIE].value

    def use():
        browser = Browser()
        browser.cookies[COOKIE] = cookie
        return redeem(browser, token).status_code

    assert sorted(at_once([use] * 4)) == [302, 400, 400, 400]


def test_a_reload_of_the_way_back_goes_on_to_the_page(client):
    token = ticket(begin(client)["state"], next="/admin/events/event/")
    for _ in range(2):
        assert redeem(client, token)["Location"] == "/admin/events/event/"


def test_two_tabs_that_begin_at_once_both_come_back(client):
    first, second = begin(client)["state"], begin(client)["state"]
    assert first == second
    assert redeem(client, ticket(first, next="/admin/events/event/"))["Location"] == "/admin/events/event/"
    assert redeem(client, ticket(second, next="/orders/1/explain"))["Location"] == "/orders/1/explain"
    assert is_in(client)


def test_the_ticket_of_another_browser_signs_nobody_in(client):
    strangers = ticket(begin(Browser())["state"])
    assert_refused(client, strangers, "did not ask for it")
    begin(client)
    assert_refused(client, strangers, "did not ask for it")


def test_the_ticket_of_another_browser_does_not_change_who_is_signed_in(ola, users):
    before = ola.cookies["order_session"].value
    answer = redeem(ola, ticket(begin(Browser())["state"], sub="12"))
    assert answer.status_code == 302
    assert ola.cookies["order_session"].value == before
    assert not User.objects.filter(username="staff:12").exists()


def test_a_refused_ticket_of_another_browser_is_not_spent(client):
    owner = Browser()
    token = ticket(begin(owner)["state"])
    assert_refused(client, token)
    assert redeem(owner, token).status_code == 302


BAD = {
    "for another service": {"aud": PRODUCT.name},
    "for all": {"aud": "platform"},
    "by another issuer": {"iss": ORDER.name},
    "expired": {"iat": 1000, "nbf": 1000, "exp": 1030},
    "not yet valid": {"nbf": int(time.time()) + 1000},
    "without an end": {"exp": None},
    "without a session": {"sid": None},
    "without a state": {"state": None},
    "without an id": {"jti": None},
    "for nobody": {"sub": "x"},
    "with numbers for texts": {"next": 5},
    "with an odd end of the session": {"until": "soon"},
}


@pytest.mark.parametrize("claims", BAD.values(), ids=BAD)
def test_a_ticket_is_refused(client, claims):
    assert_refused(client, ticket(begin(client)["state"], **claims))


def test_a_ticket_is_valid_for_thirty_seconds_and_a_few_for_clocks(client):
    state = begin(client)["state"]
    past = int(time.time()) - 36
    assert tickets.TICKET_SECONDS == 30
    assert_refused(client, ticket(state, iat=past, nbf=past, exp=past + 30), "expired")
    recent = int(time.time()) - 29
    assert redeem(client, ticket(state, iat=recent, nbf=recent, exp=recent + 30)).status_code == 302


@pytest.mark.parametrize("token", ["", "x", "a.b.c", ".", "é.é.é"])
def test_nonsense_is_refused(client, token):
    begin(client)
    assert_refused(client, token)


def test_other_tokens_are_no_tickets(client, settings):
    settings.SERVICE_KEYS = people.public_service_keys()
    state = begin(client)["state"]
    assert_refused(client, people.user_token(OLA, "admin", state=state, until=2**33, next="/"))
    assert_refused(client, ticket(state, typ="at+jwt"))
    assert_refused(client, ticket(state, key=people.SERVICE_KEYS["user-service"]))
    assert_refused(client, ticket(state, key=people.SERVICE_KEYS["user-service"], typ="service+jwt"))


def test_a_ticket_is_no_access_token(api, settings):
    settings.PLATFORM_ENV = "production"
    token = ticket("a" * 64, aud="platform", roles=["admin"])
    assert_problem(api.get("/api/orders", people.bearer(token)), 401, "not_authenticated")


def test_redeemed_tickets_are_forgotten_when_they_cannot_be_valid_any_more(client):
    RedeemedTicket.objects.create(jti="old", expires_at=now() - timedelta(seconds=1))
    redeem(client, ticket(begin(client)["state"]))
    row = RedeemedTicket.objects.get()
    longest = tickets.TICKET_SECONDS + tokens.SKEW + tokens.LEEWAY
    assert row.expires_at > now() + timedelta(seconds=longest)


@pytest.mark.parametrize("method", ["head", "post"])
def test_only_a_visit_redeems_a_ticket(client, method):
    token = ticket(begin(client)["state"])
    assert getattr(client, method)(f"{REDEEM}?ticket={token}", headers=HTML).status_code == 405
    assert redeem(client, token).status_code == 302


def test_the_longest_path_fits_into_a_request_line(client):
    asked = client.get(LOGIN, {"next": "/" + "&" * 1499}, headers=HTML)["Location"]
    assert len(parse_qs(urlsplit(asked).query)["next"][0]) == 1500
    assert len(f"{LOGIN}?{urlencode({'next': asked})}") < 8190


def test_the_account_is_asked_for_at_user_service(client, users):
    redeem(client, ticket(begin(client)["state"]))
    assert users.asked[-1] == f"GET /api/auth/staff/{OLA}/sessions/{SESSION}"
    shadow = User.objects.get()
    assert (shadow.email, shadow.first_name, shadow.is_superuser) == ("ola@example.com", "Ola", False)


def test_an_account_that_lost_its_roles_is_told_so(client, users):
    users.roles = []
    answer = redeem(client, ticket(begin(client)["state"]))
    assert answer.status_code == 403
    assert "Your account has no role" in answer.content.decode()
    assert not is_in(client)


def test_a_sign_in_that_has_ended_meanwhile_opens_nothing(client, users):
    users.ended.add(SESSION)
    answer = redeem(client, ticket(begin(client)["state"]))
    assert answer.status_code == 403
    assert not is_in(client)


def test_without_user_service_a_ticket_opens_nothing(client, users):
    state = begin(client)["state"]
    tokens.user_keys().find(people.KEY.kid)
    users.down = True
    answer = redeem(client, ticket(state))
    assert answer.status_code == 503
    assert "Use a local account" in answer.content.decode()
    assert not is_in(client)


def test_a_planted_session_does_not_survive_the_sign_in(client, settings):
    client.get(LOGIN, {"local": ""}, headers=HTML)
    session = client.session
    session["planted"] = 1
    session.save()
    client.cookies[settings.SESSION_COOKIE_NAME] = session.session_key
    redeem(client, ticket(begin(client)["state"]))
    assert client.cookies[settings.SESSION_COOKIE_NAME].value != session.session_key


def test_the_session_ends_with_that_of_user_service(client):
    until = int(time.time()) + 100
    redeem(client, ticket(begin(client)["state"], until=until))
    assert client.session.get_expiry_date() == datetime.fromtimestamp(until, UTC)


# Signing out.


def test_signing_out_elsewhere_ends_it_here_within_a_minute(ola, users, later):
    assert is_in(ola)
    users.ended.add(SESSION)
    later()
    assert not is_in(ola)
    assert not Session.objects.exists()


def test_it_is_asked_once_a_minute(ola, users):
    asked = len(users.asked)
    for _ in range(3):
        assert is_in(ola)
    assert len(users.asked) == asked
    key = next(iter(staff._asked))
    staff._asked[key] -= 61
    for _ in range(3):
        assert is_in(ola)
    assert len(users.asked) == asked + 1


def test_another_browser_of_the_same_person_stays_signed_in(ola, users, later):
    other = Browser()
    redeem(other, ticket(begin(other)["state"], sid=SESSION.replace("1", "2")))
    users.ended.add(SESSION)
    later()
    assert not is_in(ola)
    assert is_in(other)
    assert User.objects.get().is_active


def test_signing_out_here_ends_it_at_user_service(ola, users):
    page = ola.post("/admin/logout/", headers=HTML)
    assert "The other admins end your session within a minute" in page.content.decode()
    assert users.asked[-1] == f"DELETE /api/auth/staff/{OLA}/sessions/{SESSION}"
    assert not is_in(ola)


def test_signing_out_is_a_post_with_a_csrf_token(ola, users):
    assert ola.get("/admin/logout/", headers=HTML).status_code == 405
    ola.forges = True
    assert ola.post("/admin/logout/", headers=HTML).status_code == 403
    assert is_in(ola)
    assert not users.ended


def test_signing_out_without_user_service_ends_it_here_and_says_so(ola, users):
    users.down = True
    page = ola.post("/admin/logout/", {"next": "/api/"}, headers=HTML)
    assert "Signed out here alone" in page.content.decode()
    assert not is_in(ola)


def test_a_local_account_signs_out_without_user_service(client, users, admin_user):
    client.force_login(admin_user, backend="platform_core.auth.staff.LocalBackend")
    users.down = True
    page = client.post("/admin/logout/", headers=HTML).content.decode()
    assert "You used a local account of order-service." in page
    assert not users.asked


def test_sessions_go_on_while_user_service_is_down(ola, users, later):
    users.down = True
    later()
    assert is_in(ola)


def test_a_change_of_the_password_still_ends_it(ola, users, later):
    users.stamp = "second"
    later()
    assert not is_in(ola)
