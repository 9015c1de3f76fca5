"""Admin sign-in with accounts of user-service and with local ones, and use of the API with the session."""

import json
import re
import time
from datetime import timedelta

import pytest
import requests
from django.contrib.auth.models import Permission, User
from django.utils.timezone import now

from order_svc.models import Order
from platform_core.auth import staff
from platform_core.auth.throttle import attempts
from platform_core.http import context
from platform_core.models import Throttle
from platform_core.privacy import erase_person
from tests.admin_pages import act, url
from tests.clients import Browser
from tests.wire import assert_problem, at_once

pytestmark = pytest.mark.django_db
DOOR = "/admin/login/"
PASSWORD = "correct horse battery"
BOSS, SUE, OLA, CAT = "boss@example.com", "sue@example.com", "ola@example.com", "cat@example.com"
WRONG = "Please enter the correct username and password"


class Accounts:
    """A fake user-service with staff accounts."""

    def __init__(self) -> None:
        self.roles = {BOSS: ["admin"], SUE: ["support"], OLA: ["orders"], CAT: ["catalog"]}
        self.asked: list[dict[str, str]] = []
        self.stamp = "first"
        self.looked_up = 0
        self.down = self.throttled = False
        self.deadlines: list[float] = []

    def account(self, email: str):
        pk = sorted([BOSS, SUE, OLA, CAT]).index(email) + 7
        account = {"id": str(pk), "name": email, "email": email, "roles": self.roles[email], "stamp": self.stamp}
        return 200, {}, json.dumps(account)

    def refusal(self, status: int, code: str, detail: str = "No."):
        return status, {"Content-Type": "application/problem+json"}, json.dumps({"code": code, "detail": detail})

    def sign_in(self, request):
        body = json.loads(request.body)
        self.asked.append(body)
        if self.down:
            raise requests.exceptions.ConnectionError("refused")
        if self.throttled:
            return self.refusal(429, "throttled", "Too many attempts: try again in 5 seconds.")
        if body["password"] != PASSWORD or body["email"].lower() not in self.roles:
            return self.refusal(401, "invalid_credentials")
        return self.account(body["email"].lower())

    def look_up(self, request):
        self.looked_up += 1
        self.deadlines.append((context.current().deadline or 0) - time.monotonic())
        if self.down:
            raise requests.exceptions.ConnectionError("refused")
        email = sorted([BOSS, SUE, OLA, CAT])[int(request.path_url.rsplit("/", 1)[1]) - 7]
        return self.account(email) if email in self.roles else self.refusal(404, "not_found")


@pytest.fixture(autouse=True)
def accounts(settings, peers):
    settings.PLATFORM_ENV = "production"
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = False
    there = Accounts()
    base = settings.PEER_URLS["user-service"]
    peers.add_callback("POST", base + "/api/auth/staff", callback=there.sign_in)
    peers.add_callback("GET", re.compile(re.escape(base) + r"/api/auth/staff/\d+$"), callback=there.look_up)
    staff._asked.clear()
    return there


@pytest.fixture
def enter(client):
    """Signs in to the admin and returns the response."""

    def enter(username=OLA, password=PASSWORD, browser=client, **meta):
        return browser.post(DOOR, {"username": username, "password": password, "next": "/admin/"}, **meta)

    return enter


@pytest.fixture
def order():
    return Order.objects.create(user_id=1, currency="USD", status="confirmed", total=5, confirmed_at=now())


def is_in(client) -> bool:
    return client.get("/admin/").status_code == 200


def assert_stays_out(client, answer, words=WRONG):
    assert answer.status_code == 200
    assert words in " ".join(answer.context["form"].non_field_errors())
    assert not is_in(client)


def test_an_account_of_the_staff_opens_the_admin(client, enter):
    answer = enter()
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")
    assert is_in(client)


def test_it_leaves_a_shadow_that_has_no_password(enter):
    enter()
    shadow = User.objects.get()
    assert (shadow.username, shadow.email, shadow.is_staff, shadow.is_superuser) == ("staff:9", OLA, True, False)
    assert not shadow.has_usable_password()
    enter()
    assert User.objects.count() == 1


def test_an_erased_account_leaves_no_name_and_cannot_enter(client, enter, api):
    """Not even if user-service still vouches for it, as it may for a sign-in that runs during the deletion."""
    enter()
    assert is_in(client)
    shadow = User.objects.get()
    erase_person(9)
    shadow.refresh_from_db()
    assert (shadow.username, shadow.email, shadow.first_name, shadow.is_active) == ("staff:9", "", "", False)
    assert not shadow.groups.exists()
    assert not is_in(client)
    assert_stays_out(client, enter())
    shadow.refresh_from_db()
    assert (shadow.email, shadow.is_active) == ("", False)


def test_an_email_is_the_same_whatever_its_case(client, enter):
    assert enter("OLA@Example.com").status_code == 302
    assert User.objects.count() == 1


def test_the_clients_address_is_sent_to_user_service(enter, accounts):
    enter(REMOTE_ADDR="203.0.113.9")
    assert accounts.asked == [{"email": OLA, "password": PASSWORD, "address": "203.0.113.9"}]


@pytest.mark.parametrize("username, password", [(OLA, "wrong"), ("customer@example.com", PASSWORD), ("ola", PASSWORD)])
def test_only_staff_accounts_can_sign_in(client, enter, username, password):
    assert_stays_out(client, enter(username, password))
    assert not User.objects.exists()


@pytest.mark.parametrize("username", ["staff:9", "staff:", "staff:9@example.com"])
@pytest.mark.parametrize("password", ["!", "", PASSWORD])
def test_nobody_can_sign_in_as_a_shadow_account(client, enter, username, password):
    enter()
    client.post("/admin/logout/")
    answer = enter(username, password)
    assert answer.status_code == 200
    assert not is_in(client)


def test_a_shadow_is_no_local_account_even_with_a_password(client, enter):
    """An admin may have set a password by mistake. It would stay valid after the account is deleted."""
    enter()
    client.post("/admin/logout/")
    shadow = User.objects.get()
    shadow.set_password("a local password")
    shadow.save()
    assert_stays_out(client, enter("staff:9", "a local password"))


ODD = ["x" * 300 + "@example.com", "a\0b@example.com", "@", "a@b@c", "é@example.com", "'@example.com"]


@pytest.mark.parametrize("username", ODD, ids=lambda name: name[-20:])
def test_an_odd_name_cannot_sign_in(client, enter, username):
    assert enter(username, "wrong").status_code == 200
    assert not is_in(client)


def test_an_oversized_password_is_not_passed_on(client, enter, accounts):
    assert enter(password="x" * 129).status_code == 200
    assert enter("x" * 255 + "@example.com").status_code == 200
    assert not accounts.asked


def pages(client, *models) -> list[int]:
    return [client.get(url(model, "changelist")).status_code for model in models]


@pytest.mark.parametrize(
    "email, order_page, local_accounts", [(OLA, 200, 403), (SUE, 200, 403), (CAT, 403, 403), (BOSS, 200, 200)]
)
def test_roles_open_pages(client, enter, email, order_page, local_accounts):
    enter(email)
    assert pages(client, Order, User) == [order_page, local_accounts]


def test_staff_with_the_role_orders_can_ship_an_order_in_the_admin(client, enter, order):
    enter(OLA)
    act(client, Order, "ship", order)
    assert Order.objects.get().status == "shipped"


def test_the_support_only_looks_at_orders_in_the_admin(client, enter, order):
    enter(SUE)
    for action in ("ship", "cancel", "deliver", "delete_selected"):
        act(client, Order, action, order)
    assert Order.objects.get().status == "confirmed"


@pytest.mark.parametrize("email, status", [(OLA, 200), (BOSS, 200), (SUE, 403), (CAT, 403)])
def test_roles_open_the_api_by_the_session(client, enter, order, email, status):
    enter(email)
    assert client.post(f"/api/orders/{order.pk}/ship", content_type=JSON).status_code == status


def test_a_session_has_no_rights_of_a_customer_with_the_same_id(client, enter, accounts):
    """A session may read the orders of its own account only."""
    Order.objects.create(user_id=1, currency="USD")
    own = Order.objects.create(user_id=7, currency="USD")
    enter(CAT)  # boss, cat, ola, sue: the ids are 7 to 10
    assert [each["id"] for each in client.get("/api/orders").json()["results"]] == []
    own.user_id = 8
    own.save()
    assert [each["id"] for each in client.get("/api/orders").json()["results"]] == [str(own.pk)]


@pytest.fixture
def later(monkeypatch):
    """Lets a minute pass, so that roles are read again."""
    return lambda: staff._asked.clear()


def test_roles_are_asked_for_once_a_minute(client, enter, accounts):
    enter()
    for _ in range(3):
        assert is_in(client)
    assert accounts.looked_up == 0
    key = next(iter(staff._asked))
    staff._asked[key] -= 61
    for _ in range(3):
        assert is_in(client)
    assert accounts.looked_up == 1


def test_a_promotion_and_a_demotion_take_effect(client, enter, accounts, order, later):
    enter(OLA)
    for roles, seen, shipped in (
        (["support"], [200, 403], 403),
        (["catalog"], [403, 403], 403),
        (["admin"], [200, 200], 200),
        (["catalog", "support"], [200, 403], 403),
    ):
        accounts.roles[OLA] = roles
        later()
        assert pages(client, Order, User) == seen
        assert client.post(f"/api/orders/{order.pk}/ship", content_type=JSON).status_code == shipped
    assert not User.objects.get().is_superuser


def test_a_disabled_account_is_signed_out(client, enter, accounts, order, later):
    enter(BOSS)
    assert is_in(client)
    del accounts.roles[BOSS]
    later()
    assert not is_in(client)
    assert client.post(f"/api/orders/{order.pk}/ship", content_type=JSON).status_code == 401
    shadow = User.objects.get()
    assert (shadow.is_active, shadow.is_staff, shadow.is_superuser) == (False, False, False)


def test_a_disabled_account_cannot_sign_in_while_user_service_is_down(client, enter, accounts, later):
    enter(BOSS)
    del accounts.roles[BOSS]
    later()
    assert not is_in(client)
    accounts.down = True
    later()
    assert not is_in(client)


def test_a_change_of_the_password_ends_older_sessions(client, enter, accounts, later):
    enter(BOSS)
    accounts.stamp = "second"
    later()
    assert not is_in(client)
    assert enter(BOSS).status_code == 302
    later()
    assert is_in(client)


def test_a_deleted_consumer_that_returns_starts_fresh(client, enter, accounts, later):
    enter(OLA)
    roles = accounts.roles.pop(OLA)
    later()
    assert not is_in(client)
    accounts.roles[OLA] = roles
    assert enter(OLA).status_code == 302
    assert is_in(client)


def test_a_short_deadline_does_not_extend_old_roles(client, enter, accounts, later):
    """X-Request-Timeout comes from the client. It must not let a client make the look-up of roles fail."""
    enter(BOSS)
    del accounts.roles[BOSS]
    later()
    answer = client.get("/admin/", headers={"X-Request-Timeout": "0.2"})
    assert answer.status_code == 302
    assert accounts.deadlines[0] > 0.5


def test_staff_sessions_continue_while_user_service_is_down(client, enter, accounts, later):
    enter(OLA)
    accounts.down = True
    later()
    assert pages(client, Order, User) == [200, 403]


def test_a_local_account_can_sign_in_while_user_service_is_down(client, enter, accounts, admin_user):
    accounts.down = True
    assert enter("admin", "password").status_code == 302
    assert is_in(client)
    assert not accounts.asked


def test_staff_see_an_error_while_user_service_is_down(client, enter, accounts):
    accounts.down = True
    assert_stays_out(client, enter(), "user-service does not answer")


def test_too_many_attempts_at_user_service_are_reported_to_the_user(client, enter, accounts):
    accounts.throttled = True
    assert_stays_out(client, enter(), "try again in 5 seconds")


def test_a_local_account_may_be_called_like_an_email(client, enter, accounts):
    User.objects.create_superuser(OLA, password="a local password")
    assert enter(OLA, "a local password").status_code == 302
    assert not accounts.asked
    client.post("/admin/logout/")
    assert enter(OLA, PASSWORD).status_code == 302
    assert len(accounts.asked) == 1
    assert User.objects.count() == 2
    assert pages(client, User) == [403]


def test_a_local_account_that_is_not_staff_stays_out(client, enter):
    User.objects.create_user("local", password="a local password")
    answer = enter("local", "a local password")
    assert answer.status_code == 200
    assert not is_in(client)


def test_a_local_account_without_permissions_reads_nothing_through_the_api(client, enter, order):
    User.objects.create_user("local", password="a local password", is_staff=True)
    enter("local", "a local password")
    assert is_in(client)
    assert client.get("/api/orders").status_code == 403
    assert pages(client, Order) == [403]


def test_a_local_superuser_does_all_by_the_api(client, enter, order, admin_user):
    enter("admin", "password")
    assert client.post(f"/api/orders/{order.pk}/ship", content_type=JSON).status_code == 200


def test_djangos_own_permissions_go_for_local_accounts(client, enter):
    user = User.objects.create_user("local", password="a local password", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_order"))
    enter("local", "a local password")
    assert pages(client, Order, User) == [200, 403]


def test_the_session_is_a_new_one_after_signing_in(client, enter, settings):
    client.get(DOOR)
    session = client.session
    session["planted"] = 1
    session.save()
    client.cookies[settings.SESSION_COOKIE_NAME] = session.session_key
    enter()
    assert client.cookies[settings.SESSION_COOKIE_NAME].value != session.session_key
    cookie = client.cookies[settings.SESSION_COOKIE_NAME]
    assert cookie["httponly"] and cookie["samesite"] == "Lax"


@pytest.mark.parametrize(
    "elsewhere",
    [
        *("https://evil.example/", "//evil.example/", "///evil.example", "/\\evil.example", "\\\\evil.example"),
        *(
            "javascript:alert(1)",
            "http:evil.example",
            "//evil.example@testserver/",
            "%2f%2fevil.example",
            "\t//evil.example",
        ),
    ],
)
@pytest.mark.parametrize("way", ["query", "form"])
def test_the_sign_in_redirects_only_to_its_own_host(client, elsewhere, way):
    body = {"username": OLA, "password": PASSWORD}
    if way == "query":
        answer = client.post(DOOR, body, QUERY_STRING=f"next={requests.utils.quote(elsewhere)}")
    else:
        answer = client.post(DOOR, {**body, "next": elsewhere})
    assert answer.status_code == 302
    assert not re.match(r"[\s\\]*([a-z]+:|[/\\]{2})", answer["Location"])


# Cross-site requests.


JSON = "application/json"


@pytest.fixture
def browser(enter):
    """A signed-in browser that checks CSRF tokens."""
    browser = Browser(forges=True)
    browser.get(DOOR)
    token = browser.cookies["order_csrf"].value
    assert enter(browser=browser, headers={"X-CSRFToken": token}).status_code == 302
    return browser


def test_the_sign_in_needs_a_csrf_token(enter):
    assert enter(browser=Browser(forges=True)).status_code == 403


def test_another_site_does_nothing_by_the_session(browser, order):
    path = f"/api/orders/{order.pk}/ship"
    for headers in ({}, {"X-CSRFToken": "x" * 32}, {"Origin": "https://evil.example"}):
        answer = browser.post(path, content_type=JSON, headers={"Accept": JSON, **headers})
        assert_problem(answer, 403, "permission_denied")
    for method in ("put", "patch", "delete"):
        assert getattr(browser, method)(f"/api/orders/{order.pk}").status_code in (403, 405)
    assert Order.objects.get().status == "confirmed"


def test_our_pages_have_the_policy(browser, order):
    headers = {"X-CSRFToken": browser.cookies["order_csrf"].value}
    assert browser.post(f"/api/orders/{order.pk}/ship", content_type=JSON, headers=headers).status_code == 200


def test_a_token_from_another_origin_does_not_help(browser, order):
    headers = {"X-CSRFToken": browser.cookies["order_csrf"].value, "Origin": "https://evil.example"}
    assert browser.post(f"/api/orders/{order.pk}/ship", content_type=JSON, headers=headers).status_code == 403


def test_looking_needs_no_csrf_token(browser, order):
    assert browser.get(f"/api/orders/{order.pk}").status_code == 200
    assert browser.head(f"/api/orders/{order.pk}").status_code == 200


def test_a_bearer_token_needs_no_csrf_token(browser, order, settings):
    from platform_core.auth import tokens
    from tests.people import as_user

    settings.ACCOUNTS = "tests.people"
    tokens.forget()
    headers = as_user(9, "orders")
    for client, move in ((browser, "ship"), (Browser(forges=True), "deliver")):
        answer = client.post(f"/api/orders/{order.pk}/{move}", content_type="application/json", headers=headers)
        assert answer.status_code == 200
    tokens.forget()


def test_a_session_does_not_replace_a_bad_bearer_token(browser, order):
    answer = browser.get(f"/api/orders/{order.pk}", headers={"Authorization": "Bearer x"})
    assert answer.status_code in (401, 503)


# Guessing.


def tried(username: str, times: int, address: str = "127.0.0.1") -> None:
    limit = attempts("admin", username, address)[0]
    Throttle.objects.create(key=limit.key, count=times, resets_at=now() + timedelta(minutes=5))


def test_failed_admin_sign_ins_are_counted_in_postgres(client, enter, accounts, admin_user):
    for username, password in ((OLA, PASSWORD), ("admin", "password")):
        tried(username, 10)
        assert_stays_out(client, enter(username, password), "Too many attempts")
    assert not accounts.asked
    Throttle.objects.all().delete()
    assert enter("admin", "password").status_code == 302


@pytest.mark.django_db(transaction=True)
def test_concurrent_guesses_are_counted_one_by_one(enter, accounts):
    tried(OLA, 6)
    answers = at_once([lambda: enter(OLA, "guess", browser=Browser())] * 8)
    assert len(accounts.asked) == 4
    assert sum("Too many attempts" in answer.content.decode() for answer in answers) == 4


def test_a_form_without_a_password_is_not_a_way_to_get_attempts_back(enter):
    tried(OLA, 5)
    for _ in range(3):
        enter(OLA, "")
    assert Throttle.objects.get(key=attempts("admin", OLA, "127.0.0.1")[0].key).count >= 5


def test_successful_sign_ins_do_not_count(enter):
    tried(OLA, 9)
    for _ in range(3):
        assert enter().status_code == 302
