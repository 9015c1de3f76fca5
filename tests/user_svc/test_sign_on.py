"""One sign-in for all admins, at user-service: sessions of the staff, and tickets for the other services."""

import json
from base64 import urlsafe_b64decode
from datetime import timedelta
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from django.utils.timezone import now

from platform_core.auth import staff
from platform_core.topology import ORDER, USER
from tests.people import as_service
from tests.user_svc.conftest import PASSWORD
from tests.wire import assert_problem
from user_svc import accounts, services
from user_svc.models import Session, User

pytestmark = pytest.mark.django_db
HTML = {"Accept": "text/html"}
SUE, STATE = "sue@example.com", "a" * 64
ASKED = f"/admin/sign-on/?{urlencode({'service': 'order-service', 'state': STATE, 'next': '/orders/1/explain'})}"
LOGIN = "/admin/login/"


@pytest.fixture(autouse=True)
def _fresh():
    staff._asked.clear()


@pytest.fixture
def sue() -> int:
    return services.create_user(name="Sue", email=SUE, roles=["support"], password=PASSWORD).pk


def enter(browser, following="/admin/", email=SUE, password=PASSWORD):
    return browser.post(LOGIN, {"username": email, "password": password, "next": following}, headers=HTML)


@pytest.fixture
def signed_in(client, sue):
    assert enter(client).status_code == 302
    return client


def claims_of(answer) -> dict:
    token = parse_qs(urlsplit(answer["Location"]).query)["ticket"][0]
    payload = token.split(".")[1]
    return json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def test_signing_in_begins_a_session_that_the_admin_keeps(signed_in, sue):
    session = Session.objects.get()
    assert session.user_id == sue
    assert signed_in.session[staff.SESSION] == str(session.pk)
    assert now() + timedelta(hours=11) < session.expires_at < now() + timedelta(hours=12, minutes=1)


def test_who_is_signed_in_gets_a_ticket_with_ids_alone(signed_in, sue):
    answer = signed_in.get(ASKED, headers=HTML)
    assert answer["Location"].startswith(f"http://testserver:{ORDER.port}/admin/signed-on/?ticket=")
    claims = claims_of(answer)
    assert claims.pop("exp") - claims.pop("iat") == 30
    assert len(claims.pop("jti")) == 32
    session = Session.objects.get()
    assert claims.pop("until") == int(session.expires_at.timestamp())
    del claims["nbf"]
    assert claims == {
        "iss": "user-service",
        "aud": "order-service",
        "sub": str(sue),
        "sid": str(session.pk),
        "state": STATE,
        "next": "/orders/1/explain",
    }


def test_everybody_else_signs_in_first_and_then_gets_a_ticket(client, sue):
    answer = client.get(ASKED, headers=HTML)
    assert (answer.status_code, urlsplit(answer["Location"]).path) == (302, LOGIN)
    page = client.get(answer["Location"], headers=HTML)
    assert "Sign in to go on to" in page.content.decode()
    (following,) = parse_qs(urlsplit(answer["Location"]).query)["next"]
    assert enter(client, following)["Location"] == following
    assert "ticket=" in client.get(following, headers=HTML)["Location"]


def test_browsers_let_the_form_lead_to_the_asking_service_and_nowhere_else(client):
    led = client.get(client.get(ASKED, headers=HTML)["Location"], headers=HTML)
    assert f"form-action 'self' http://testserver:{ORDER.port};" in led["Content-Security-Policy"] + ";"
    for following in ("/admin/", "/admin/sign-on/?service=evil", "//evil.example/admin/sign-on/?service=order-service"):
        page = client.get(LOGIN, {"next": following}, headers=HTML)
        assert "form-action 'self';" in page["Content-Security-Policy"] + ";"


def test_the_page_leads_to_the_local_form_of_the_asking_service(client):
    page = client.get(client.get(ASKED, headers=HTML)["Location"], headers=HTML).content.decode()
    assert f"http://testserver:{ORDER.port}/admin/login/?local&amp;next=%2Forders%2F1%2Fexplain" in page


@pytest.mark.parametrize(
    "query",
    [
        {"service": "order-service"},
        {"state": STATE},
        {"service": "user-service", "state": STATE},
        {"service": "https://evil.example", "state": STATE},
        {"service": "order-service", "state": STATE[1:]},
        {"service": "order-service", "state": "é" * 64},
    ],
)
def test_an_incomplete_question_gets_no_ticket(signed_in, query):
    answer = signed_in.get("/admin/sign-on/", query, headers=HTML)
    assert answer.status_code == 400
    assert "Location" not in answer


@pytest.mark.parametrize("following", ["//evil.example", "https:evil.example", "/\\evil.example", "/x\r\ny"])
def test_a_ticket_leads_to_no_other_host(signed_in, following):
    query = {"service": "order-service", "state": STATE, "next": following}
    assert claims_of(signed_in.get("/admin/sign-on/", query, headers=HTML))["next"] == "/admin/"


def test_in_production_the_address_of_the_service_must_be_configured(signed_in, settings):
    settings.PLATFORM_ENV = "production"
    answer = signed_in.get(ASKED, headers=HTML)
    assert answer.status_code == 503
    assert "ORDER_PUBLIC_URL" in answer.content.decode()
    settings.PUBLIC_URLS = {**settings.PUBLIC_URLS, "order-service": "https://orders.example.com"}
    answer = signed_in.get(ASKED, headers=HTML)
    assert answer["Location"].startswith("https://orders.example.com/admin/signed-on/?ticket=")


def test_a_local_account_of_user_service_is_told_that_it_opens_this_admin_alone(admin_client):
    answer = admin_client.get(ASKED, headers=HTML)
    assert answer.status_code == 403
    page = answer.content.decode()
    assert "You use a local account of user-service" in page
    assert "/admin/login/?local" in page


ENDS = {
    "signed out": lambda pk: accounts.end_staff_session(pk, str(Session.objects.get().pk)),
    "another password": lambda pk: services.update_user(pk, None, password="another horse battery"),
    "disabled": lambda pk: services.update_user(pk, None, is_active=False),
    "no role": lambda pk: services.update_user(pk, None, roles=[]),
    "deleted": lambda pk: services.delete_user(pk, None),
    "expired": lambda pk: Session.objects.update(expires_at=now()),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_session_that_has_ended_gives_no_ticket_not_even_within_the_minute(signed_in, sue, end):
    assert signed_in.get("/admin/", headers=HTML).status_code == 200
    end(sue)
    answer = signed_in.get(ASKED, headers=HTML)
    assert urlsplit(answer["Location"]).path == LOGIN
    assert signed_in.get(answer["Location"], headers=HTML).status_code == 200, "the form, and no loop"


def test_signing_out_ends_the_session_and_no_other(signed_in, sue):
    other = accounts.sign_staff_in(SUE, PASSWORD, "::1")
    signed_in.post("/admin/logout/", headers=HTML)
    ended = Session.objects.exclude(pk=other.session).get()
    assert ended.reason == "signed out"
    assert accounts.session_is_live(sue, other.session)
    assert not accounts.session_is_live(sue, str(ended.pk))


def test_a_customer_is_told_that_the_account_has_no_role(client, account):
    answer = enter(client, email="ann@example.com")
    assert answer.status_code == 200
    assert "it has no role" in answer.content.decode()
    answer = enter(client, email="ann@example.com", password="wrong")
    assert "has no role" not in answer.content.decode(), "strangers are not told whose account it is"
    assert not Session.objects.exists()


# What the other services ask.


@pytest.fixture
def ask(api, known_callers, settings):
    settings.ACCOUNTS = "user_svc.accounts"
    settings.PLATFORM_ENV = "production"
    headers = as_service(ORDER, USER)

    def ask(method: str, path: str, body=None):
        if method == "get":
            return api.get(path, headers)
        return getattr(api, method)(path, body, headers=headers)

    return ask


def test_a_service_checks_credentials_and_gets_a_session(ask, sue):
    body = {"email": SUE, "password": PASSWORD, "address": "203.0.113.7"}
    answer = ask("post", "/api/auth/staff", body).json()
    assert accounts.session_is_live(sue, answer["session"])
    assert_problem(ask("post", "/api/auth/staff", {**body, "password": "wrong"}), 401, "invalid_credentials")


def test_the_right_password_of_a_customer_has_a_code_of_its_own(account, ask):
    body = {"email": "ann@example.com", "password": PASSWORD, "address": ""}
    assert_problem(ask("post", "/api/auth/staff", body), 422, "no_role")
    assert_problem(ask("post", "/api/auth/staff", {**body, "password": "wrong"}), 401, "invalid_credentials")
    assert not Session.objects.exists()


def test_a_service_reads_the_account_as_long_as_the_session_goes_on_and_ends_it(ask, sue):
    session = accounts.sign_staff_in(SUE, PASSWORD, "::1").session
    path = f"/api/auth/staff/{sue}/sessions/{session}"
    assert ask("get", path).json() == ask("get", f"/api/auth/staff/{sue}").json()
    for _ in range(2):
        assert ask("delete", path).status_code == 204
    assert_problem(ask("get", path), 404, "session_ended")
    User.objects.update(roles=[])
    assert_problem(ask("get", path), 404, "not_found")


def test_a_session_belongs_to_its_account(account, ask, sue):
    session = accounts.sign_staff_in(SUE, PASSWORD, "::1").session
    assert ask("delete", f"/api/auth/staff/{account['id']}/sessions/{session}").status_code == 204
    assert accounts.session_is_live(sue, session)
    boss = services.create_user(name="B", email="boss@example.com", roles=["admin"]).pk
    assert_problem(ask("get", f"/api/auth/staff/{boss}/sessions/{session}"), 404, "session_ended")


def test_a_password_that_changes_while_it_is_checked_begins_no_session(sue, monkeypatch):
    from user_svc import sign_in

    real = sign_in.verified

    def slow(*args):
        user = real(*args)
        services.update_user(user.pk, None, password="another horse battery")
        return user

    monkeypatch.setattr(sign_in, "verified", slow)
    assert accounts.sign_staff_in(SUE, PASSWORD, "::1") is None
    assert not Session.objects.exists()
