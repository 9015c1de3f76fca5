"""POST /api/auth/token."""

import logging
from datetime import timedelta

import pytest
from django.utils.timezone import now

from platform_core.auth import throttle
from platform_core.auth.hashers import Argon2Hasher
from platform_core.auth.identity import Kind
from platform_core.auth.throttle import Limit, attempts
from platform_core.auth.tokens import identify
from platform_core.events.models import Event
from platform_core.http.errors import Throttled
from platform_core.models import Throttle
from platform_core.vocabulary import Role
from tests.user_svc.conftest import PASSWORD
from tests.wire import assert_problem, at_once
from user_svc.models import RefreshToken, Session, User
from user_svc.services import update_user

pytestmark = pytest.mark.django_db
URL = "/api/auth/token"
HERE, THERE = "203.0.113.7", "198.51.100.9"
BOTH, ACCOUNT, ADDRESS = range(3)


@pytest.fixture
def runs(monkeypatch):
    """The number of times a password was hashed, to store or to compare."""
    counted = []
    for name in ("encode", "verify"):
        real = getattr(Argon2Hasher, name)
        monkeypatch.setattr(
            Argon2Hasher, name, lambda *args, real=real, **kwargs: counted.append(1) or real(*args, **kwargs)
        )
    return counted


def tried(limit: Limit, times: int, seconds: float = 300) -> None:
    """Sets a counter as if there had been this many attempts."""
    Throttle.objects.create(key=limit.key, count=times, resets_at=now() + timedelta(seconds=seconds))


def counts(email: str = "ann@example.com", address: str = HERE) -> list[int]:
    """The counters of account and address, of the account, of the address."""
    found = dict(Throttle.objects.values_list("key", "count"))
    return [found.get(limit.key, 0) for limit in attempts("sign-in", email, address)]


def assert_throttled(answer, most=900):
    assert_problem(answer, 429, "throttled")
    assert 1 <= int(answer["Retry-After"]) <= most


def test_it_gives_a_pair_of_tokens(account, sign_in):
    answer = sign_in()
    assert answer.status_code == 200
    pair = answer.json()
    assert set(pair) == {"access", "refresh", "tokenType", "expiresIn"}
    assert (pair["tokenType"], pair["expiresIn"]) == ("Bearer", 900)
    assert answer["Cache-Control"] == "no-store"
    caller = identify(pair["access"])
    assert (caller.kind, caller.subject, caller.roles) == (Kind.USER, account["id"], frozenset())
    assert caller.session == str(Session.objects.get().pk)


def test_an_access_token_opens_the_own_account(api, account, session, settings):
    settings.PLATFORM_ENV = "production"
    headers = {"Authorization": f"Bearer {session['access']}"}
    assert api.get("/api/users/me", headers).json()["id"] == account["id"]
    assert api.get(f"/api/users/{account['id']}", headers).json()["email"] == account["email"]


def test_the_token_knows_the_roles(account, sign_in):
    User.objects.update(roles=["orders", "catalog"])
    assert identify(sign_in().json()["access"]).roles == {Role.ORDERS, Role.CATALOG}


@pytest.mark.parametrize("email", ["ann@example.com", "ANN@EXAMPLE.COM", "Ann@Example.com", " ann@example.com "])
def test_an_email_is_the_same_whatever_its_case(account, sign_in, email):
    assert sign_in(email).status_code == 200


@pytest.mark.parametrize("password", [PASSWORD.upper(), PASSWORD + " ", " " + PASSWORD, PASSWORD[:-1], PASSWORD + "\n"])
def test_passwords_are_not_trimmed_or_changed(account, sign_in, password):
    assert_problem(sign_in(password=password), 401, "invalid_credentials")


def test_a_password_may_be_of_any_letters(api, ann, sign_in):
    password = "  пароль 密码 🔑 é "
    api.patch(f"/api/users/{ann['id']}", {"password": password})
    assert sign_in(password=password).status_code == 200


REFUSED = {
    "a wrong password": lambda: PASSWORD[:-1],
    "an unknown email": lambda: User.objects.update(email="other@example.com", email_key="other@example.com"),
    "a disabled account": lambda: User.objects.update(is_active=False),
    "an account without a password": lambda: User.objects.update(password=""),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_all_failed_sign_ins_have_the_same_message_and_cost(account, sign_in, runs, reason):
    def shown(answer):
        body = {**answer.json(), "requestId": ""}
        return answer.status_code, body, {**dict(answer.headers), "X-Request-ID": ""}

    given = REFUSED[reason]()
    answer = sign_in(password=given if isinstance(given, str) else PASSWORD)
    assert_problem(answer, 401, "invalid_credentials")
    assert len(runs) == 1
    assert shown(answer) == shown(sign_in("nobody@example.com"))
    assert answer["WWW-Authenticate"] == 'Bearer realm="platform"'
    assert not Session.objects.exists()


def test_a_right_password_takes_no_more_work_than_a_wrong_one(account, sign_in, runs):
    assert sign_in().status_code == 200
    assert len(runs) == 1


MALFORMED = [
    ({}, ["email", "password"]),
    ({"email": "ann@example.com"}, ["password"]),
    ({"password": "x"}, ["email"]),
    ({"email": "", "password": ""}, ["email", "password"]),
    ({"email": None, "password": None}, ["email", "password"]),
    ({"email": 5, "password": 5}, ["email", "password"]),
    ({"email": ["ann@example.com"], "password": {"$ne": 1}}, ["email", "password"]),
    ({"email": True, "password": False}, ["email", "password"]),
    ({"email": "a\0b@example.com", "password": "x\0y"}, ["email", "password"]),
    ({"email": "a\nb@example.com", "password": "x"}, ["email"]),
    ({"email": "a" * 250 + "@x.com", "password": "x"}, ["email"]),
    ({"email": "ann@example.com", "password": "x" * 129}, ["password"]),
    ({"email": "ann@example.com", "password": "x" * 1_000_000}, ["password"]),
    ([], ["body"]),
    (["ann@example.com", "x"], ["body"]),
    ("x", ["body"]),
    (5, ["body"]),
    (None, ["body"]),
]


@pytest.mark.parametrize("body, fields", MALFORMED, ids=[str(body)[:40] for body, _ in MALFORMED])
def test_an_invalid_body_is_refused_by_field_and_nothing_is_hashed(api, account, runs, send, body, fields):
    import json

    assert_problem(send("POST", URL, json.dumps(body)), 400, "invalid", fields)
    assert not runs
    assert not Throttle.objects.exists()


@pytest.mark.parametrize("body", ["", "{", '{"email": "ann@example.com", "password": "\\ud800"}', b"\xff", "[" * 5000])
def test_a_body_that_is_no_json_is_refused(account, send, body):
    assert send("POST", URL, body).status_code == 400


def test_a_form_of_another_site_is_not_taken(account, send):
    """Any page can submit a form across origins. For JSON the browser sends a preflight request."""
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"):
        assert send("POST", URL, "email=ann@example.com&password=x", kind).status_code == 415


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_only_post_signs_in(api, method):
    assert_problem(getattr(api, method)(URL), 405, "method_not_allowed")


def test_an_expired_token_does_not_prevent_a_sign_in(api, account):
    body = {"email": "ann@example.com", "password": PASSWORD}
    assert api.post(URL, body, headers={"Authorization": "Bearer old"}).status_code == 200


def test_the_eleventh_attempt_in_a_quarter_of_an_hour_is_refused(account, sign_in):
    for _ in range(10):
        assert_problem(sign_in(password="wrong"), 401, "invalid_credentials")
    assert_throttled(sign_in(password="wrong"))
    assert_throttled(sign_in())  # neither is the right one taken, or guessing would go on unseen
    assert sign_in(address=THERE).status_code == 200


def test_an_attempt_that_is_refused_costs_no_hash(account, sign_in, runs):
    tried(attempts("sign-in", "ann@example.com", HERE)[BOTH], 10)
    assert_throttled(sign_in())
    assert not runs


def test_a_429_has_a_retry_after_header(account, sign_in):
    tried(attempts("sign-in", "ann@example.com", HERE)[BOTH], 10, seconds=42)
    assert int(sign_in()["Retry-After"]) in (41, 42)


def test_unknown_accounts_are_counted_like_known_ones(sign_in):
    for _ in range(2):
        sign_in("nobody@example.com")
    assert counts("nobody@example.com") == [2, 2, 2]
    tried(attempts("sign-in", "other@example.com", HERE)[BOTH], 10)
    assert_throttled(sign_in("other@example.com"))


def test_an_account_is_counted_over_all_addresses(account, sign_in):
    tried(attempts("sign-in", "ann@example.com", HERE)[ACCOUNT], 99)
    assert_problem(sign_in(password="wrong", address="198.51.100.1"), 401, "invalid_credentials")
    assert_throttled(sign_in(address="198.51.100.2"))


def test_an_address_is_counted_over_all_accounts(account, sign_in):
    tried(attempts("sign-in", "x", HERE)[ADDRESS], 99)
    assert_problem(sign_in("a@example.com"), 401, "invalid_credentials")
    assert_throttled(sign_in())
    assert sign_in(address=THERE).status_code == 200


@pytest.mark.parametrize("email", ["ANN@example.com", " ann@example.com", "aNN@EXAMPLE.com "])
def test_an_account_is_counted_however_it_is_written(account, sign_in, email):
    tried(attempts("sign-in", "ann@example.com", HERE)[BOTH], 10)
    assert_throttled(sign_in(email))


def test_attempts_are_counted_only_in_postgres(account, sign_in):
    for _ in range(10):
        sign_in(password="wrong")
    assert counts() == [10, 10, 10]
    assert_throttled(sign_in())
    Throttle.objects.all().delete()
    assert sign_in().status_code == 200


@pytest.mark.django_db(transaction=True)
def test_attempts_made_at_once_are_counted_one_by_one(account, sign_in):
    answers = at_once([lambda n=n: sign_in(password=f"guess {n}") for n in range(14)])
    assert sorted(answer.status_code for answer in answers) == [401] * 10 + [429] * 4
    assert counts() == [14, 14, 14]


@pytest.mark.django_db(transaction=True)
def test_concurrent_counting_never_blocks_an_account_for_ever():
    now_over = [Throttle(key=f"old-{n}", count=1, resets_at=now() - timedelta(hours=1)) for n in range(200)]
    Throttle.objects.bulk_create(now_over)
    limits = [Limit("x", str(n), 10**6, 60) for n in range(3)]
    at_once([lambda n=n: [throttle.count(limits[n % 3 :] + limits[: n % 3]) for _ in range(20)] for n in range(6)])
    assert sorted(Throttle.objects.values_list("count", flat=True)) == [120, 120, 120]


def test_successful_sign_ins_do_not_count(account, sign_in):
    for _ in range(3):
        sign_in(password="wrong")
    assert sign_in().status_code == 200
    assert counts() == [3, 3, 3]


def test_successful_sign_ins_do_not_allow_more_guesses_at_other_accounts(account, person, sign_in):
    person("bob@example.com")
    for _ in range(3):
        sign_in("bob@example.com", "guess")
        assert sign_in().status_code == 200
    assert counts("bob@example.com") == [3, 3, 3]


def test_endless_attempts_do_not_extend_the_block_of_an_account(account, sign_in):
    limit = attempts("sign-in", "ann@example.com", HERE)[BOTH]
    tried(limit, 10, seconds=5)
    before = Throttle.objects.get(key=limit.key).resets_at
    assert_throttled(sign_in(), 5)
    assert Throttle.objects.get(key=limit.key).resets_at == before


def test_a_counter_starts_again_after_its_window(account, sign_in):
    for limit in attempts("sign-in", "ann@example.com", HERE):
        tried(limit, 1000, seconds=-1)
    assert_problem(sign_in(password="wrong"), 401, "invalid_credentials")
    assert counts() == [1, 1, 1]
    assert all(each.resets_at > now() + timedelta(minutes=14) for each in Throttle.objects.all())


def test_counters_whose_time_is_over_are_cleared_away(sign_in):
    for n in range(25):
        tried(Limit("sign-in", str(n), 1, 1), 1, seconds=-1)
    tried(Limit("sign-in", "young", 1, 1), 1)
    for n in range(3):
        sign_in(f"{n}@example.com")
    left = Throttle.objects.filter(resets_at__lt=now())
    assert not left.exists()
    assert Throttle.objects.count() == 1 + 3 * 3 + 1  # with the limits of right passwords


def test_counters_contain_no_addresses_or_names(sign_in):
    sign_in("ann@example.com")
    kept = " ".join(Throttle.objects.values_list("key", flat=True))
    assert "ann" not in kept
    assert HERE not in kept


@pytest.mark.parametrize("email", ["a:b@x", "a\u2028b@x.com", "%s%d@x.com", "'; DROP TABLE users; --", "a" * 254])
def test_odd_email_addresses_fail_like_wrong_ones(sign_in, email):
    assert_problem(sign_in(email), 401, "invalid_credentials")


def test_without_proxies_forwarded_headers_are_ignored(account, sign_in):
    for n in range(10):
        sign_in(password="wrong", HTTP_X_FORWARDED_FOR=f"192.0.2.{n}", HTTP_FORWARDED=f"for=192.0.2.{n}")
    assert_throttled(sign_in(HTTP_X_FORWARDED_FOR="192.0.2.99", HTTP_X_REAL_IP="192.0.2.99"))


@pytest.mark.parametrize("proxies, seen", [(1, "198.51.100.3"), (2, "198.51.100.2"), (3, "198.51.100.1")])
def test_behind_proxies_it_counts_what_the_outermost_has_seen(sign_in, settings, proxies, seen):
    settings.NUM_PROXIES = proxies
    sign_in(HTTP_X_FORWARDED_FOR="192.0.2.1, 198.51.100.1,198.51.100.2 , 198.51.100.3")
    assert counts(address=seen) == [1, 1, 1]


def test_forwarded_headers_of_clients_are_ignored(account, sign_in, settings):
    settings.NUM_PROXIES = 1
    for n in range(10):
        sign_in(password="wrong", HTTP_X_FORWARDED_FOR=f"192.0.2.{n}, {THERE}")
    assert_throttled(sign_in(HTTP_X_FORWARDED_FOR=f"192.0.2.99, {THERE}"))


@pytest.mark.parametrize("noted", ["", " ", ",", ", ,", None])
def test_without_a_forwarded_header_the_proxy_is_counted(sign_in, settings, noted):
    settings.NUM_PROXIES = 2
    sign_in(**({} if noted is None else {"HTTP_X_FORWARDED_FOR": noted}))
    assert counts() == [1, 1, 1]


@pytest.mark.parametrize("noted", ["unknown", "_hidden", "x" * 5000, "é", "<script>", "%00", "1.2.3"])
def test_a_forwarded_header_that_is_no_address_is_ignored(sign_in, settings, noted):
    settings.NUM_PROXIES = 1
    assert_problem(sign_in(HTTP_X_FORWARDED_FOR=noted), 401, "invalid_credentials")


def test_ipv6_addresses_are_counted_by_network(account, sign_in):
    """A single host can use 2^64 addresses."""
    for n in range(10):
        sign_in(password="wrong", address=f"2001:db8:1:2::{n:x}")
    assert_throttled(sign_in(address="2001:db8:1:2:ffff::1"))
    assert sign_in(address="2001:db8:1:3::1").status_code == 200


def test_ipv4_over_an_ipv6_socket_counts_by_its_address(account, sign_in):
    for _ in range(10):
        sign_in(password="wrong", address="::ffff:192.0.2.1")
    assert_throttled(sign_in(address="::ffff:192.0.2.1"))
    assert_throttled(sign_in(address="192.0.2.1"))
    assert sign_in(address="::ffff:192.0.2.2").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_session_that_began_with_the_old_password_does_not_outlive_its_change(account, sign_in, monkeypatch):
    """The owner changes the password while the hasher runs."""
    real = Argon2Hasher.verify

    def slow(self, *args, **kwargs):
        found = real(self, *args, **kwargs)
        update_user(int(account["id"]), None, password="another long password")
        return found

    monkeypatch.setattr(Argon2Hasher, "verify", slow)
    assert_problem(sign_in(), 401, "invalid_credentials")
    assert not Session.objects.filter(revoked_at=None).exists()


def test_a_hash_of_older_strength_is_renewed_at_sign_in(account, sign_in, monkeypatch):
    before = User.objects.get().password
    monkeypatch.setattr(Argon2Hasher, "time_cost", 1)
    assert sign_in().status_code == 200
    assert User.objects.get().password != before
    assert sign_in().status_code == 200


def test_passwords_and_tokens_are_in_no_log_and_no_event(account, sign_in, api, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    session = sign_in().json()
    sign_in(password="a wrong password")
    api.get("/api/users/me", {"Authorization": f"Bearer {session['access']}"})
    api.get("/api/users/me", {"Authorization": f"Bearer {session['access']}x"})
    new = api.post("/api/auth/refresh", {"refresh": session["refresh"]}).json()
    api.post("/api/auth/refresh", {"refresh": session["refresh"]})
    api.post("/api/auth/logout", {"refresh": new["refresh"]})
    lines = [str({**vars(record), "message": record.getMessage()}) for record in caplog.records]
    output = "\n".join([*lines, *capfd.readouterr(), *map(str, Event.objects.values_list("data", flat=True))])
    assert "request" in output
    secrets = [PASSWORD, "a wrong password", session["access"], session["refresh"], new["refresh"], "argon2"]
    assert not [secret for secret in secrets if secret in output]


def test_signing_in_is_no_event(account, sign_in):
    before = Event.objects.count()
    sign_in()
    assert Event.objects.count() == before
    assert RefreshToken.objects.count() == 1


def test_new_accounts_are_bounded_by_address_in_production(api, settings):
    settings.PLATFORM_ENV = "production"
    settings.SIGN_UPS_PER_HOUR = 2
    answers = [api.post("/api/users", {"name": "N", "email": f"{n}@example.com"}) for n in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert_throttled(answers[2], 3600)
    policy = '"sign-up";q=2;w=3600'
    assert [shown(answer) for answer in answers] == [(policy, f'"sign-up";r={left}') for left in (1, 0, 0)]


def test_a_customer_makes_no_more_accounts_than_a_stranger(api, account, as_user, settings):
    settings.PLATFORM_ENV = "production"
    settings.SIGN_UPS_PER_HOUR = 1
    headers = as_user(account["id"])
    answers = [api.post("/api/users", {"name": "N", "email": f"{n}@example.com"}, headers=headers) for n in range(2)]
    assert [answer.status_code for answer in answers] == [201, 429]
    staff = as_user(account["id"], "support")
    assert api.post("/api/users", {"name": "N", "email": "x@example.com"}, headers=staff).status_code == 201


def test_each_limit_has_its_own_counter():
    throttle.count([Limit("a", "x", 1, 60)])
    with pytest.raises(Throttled):
        throttle.count([Limit("a", "x", 1, 60)])
    throttle.count([Limit("b", "x", 1, 60)])
    throttle.count([Limit("a", "y", 1, 60)])


def shown(answer) -> tuple[str, str]:
    return answer["RateLimit-Policy"], answer["RateLimit"].partition(";t=")[0]


def test_every_answer_says_how_many_attempts_are_left(account, sign_in):
    policy = '"sign-in:account+address";q=10;w=900'
    assert shown(sign_in(password="wrong")) == (policy, '"sign-in:account+address";r=9')
    assert shown(sign_in()) == (policy, '"sign-in:account+address";r=9'), "a success does not count"
    tried(attempts("sign-in", "bob@example.com", HERE)[BOTH], 10, seconds=300)
    refused = sign_in("bob@example.com")
    assert_throttled(refused, 300)
    assert refused["RateLimit"] == f'"sign-in:account+address";r=0;t={refused["Retry-After"]}'
