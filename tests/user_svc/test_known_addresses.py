"""Strangers use up the limits of an account, and its owner still gets in. Right passwords have a limit of their own."""

import threading
from datetime import timedelta

import pytest
from django.utils.timezone import now

from platform_core.auth.hashers import Argon2Hasher
from platform_core.auth.throttle import Limit, attempts
from platform_core.http.errors import Unavailable
from platform_core.models import Throttle
from tests.user_svc.conftest import PASSWORD, deliver
from tests.wire import assert_problem, at_once
from user_svc import tasks
from user_svc.models import KnownAddress, User

pytestmark = pytest.mark.django_db
HOME, AWAY = "203.0.113.7", "198.51.100.9"


def used_up(*limits: Limit) -> None:
    """Sets counters as if the most attempts had been made."""
    for limit in limits:
        values = {"count": limit.most, "resets_at": now() + timedelta(minutes=5)}
        Throttle.objects.update_or_create(key=limit.key, defaults=values)


def of_account(email="ann@example.com"):
    return attempts("sign-in", email, HOME)[1]


def successes(email="ann@example.com", address=HOME):
    return [Limit("sign-in:right:account", email, 200, 3600), Limit("sign-in:right:address", address, 1000, 3600)]


def counted(limit: Limit) -> int:
    return sum(Throttle.objects.filter(key=limit.key).values_list("count", flat=True))


def test_strangers_do_not_lock_out_who_has_signed_in_from_there(account, sign_in):
    assert sign_in(address=HOME).status_code == 200
    for n in range(10):
        used_up(attempts("sign-in", "ann@example.com", f"192.0.2.{n}")[0])
    used_up(of_account())
    assert_problem(sign_in(address=AWAY), 429, "throttled")
    assert sign_in(address=HOME).status_code == 200


def test_a_wrong_password_makes_no_address_known(account, sign_in):
    assert sign_in(password="wrong").status_code == 401
    assert not KnownAddress.objects.exists()
    used_up(of_account())
    assert_problem(sign_in(), 429, "throttled")


def test_a_known_address_has_ten_attempts_of_its_own(account, sign_in):
    assert sign_in().status_code == 200
    used_up(of_account())
    answers = [sign_in(password=f"guess {n}").status_code for n in range(12)]
    assert answers == [401] * 10 + [429] * 2


def test_an_address_is_known_for_its_own_account_only(account, person, sign_in):
    person("bob@example.com", password=PASSWORD)
    assert sign_in("bob@example.com").status_code == 200
    used_up(of_account())
    assert_problem(sign_in(), 429, "throttled")


def test_an_address_is_not_known_for_who_takes_over_the_email(account, person, sign_in, api):
    assert sign_in().status_code == 200
    User.objects.update(email="ann2@example.com", email_key="ann2@example.com")
    person("ann@example.com", password="another good one 42")
    used_up(of_account())
    assert_problem(sign_in(password="another good one 42"), 429, "throttled")


def test_the_attempts_from_known_addresses_do_not_lock_out_others(account, sign_in):
    assert sign_in().status_code == 200
    for n in range(5):
        sign_in(password=f"guess {n}")
    assert counted(of_account()) == 0


def test_the_owner_changes_the_password_while_strangers_guess(api, account, session):
    KnownAddress.objects.all().delete()
    used_up(of_account())
    body = {"current": PASSWORD, "new": "another good one 42"}
    answer = api.post("/api/users/me/password", body, headers={"Authorization": f"Bearer {session['access']}"})
    assert answer.status_code == 204


def test_a_session_has_ten_attempts_at_the_present_password_from_all_addresses(api, account, session):
    headers = {"Authorization": f"Bearer {session['access']}"}

    def guess(n):
        body = {"current": f"guess {n}", "new": "another good one 42"}
        address = f"198.51.100.{n}"
        return api.client.post("/api/users/me/password", body, format="json", headers=headers, REMOTE_ADDR=address)

    assert [guess(n).status_code for n in range(12)] == [400] * 10 + [429] * 2


@pytest.mark.django_db(transaction=True)
def test_who_sets_a_new_password_by_mail_can_sign_in_while_strangers_guess(api, account, sign_in, mails):
    used_up(of_account())
    assert_problem(sign_in(address=AWAY), 429, "throttled")
    api.post("/api/auth/password-reset", {"email": "ann@example.com"})
    deliver()
    body = {"token": mails.tokens()[0], "password": "another good one 42"}
    answer = api.client.post("/api/auth/password-reset/confirm", body, format="json", REMOTE_ADDR=AWAY)
    assert answer.status_code == 204
    assert sign_in(password="another good one 42", address=AWAY).status_code == 200


def test_an_account_has_at_most_ten_known_addresses_and_the_oldest_is_forgotten(account, sign_in):
    for n in range(12):
        assert sign_in(address=f"198.51.100.{n}").status_code == 200
        sign_in(address="198.51.100.0")  # used all the time, so it stays
    assert KnownAddress.objects.count() == 10
    used_up(of_account())
    assert sign_in(address="198.51.100.0").status_code == 200
    assert_problem(sign_in(address="198.51.100.1"), 429, "throttled")


def test_an_address_is_forgotten_after_90_days(account, sign_in):
    sign_in()
    KnownAddress.objects.update(seen_at=now() - timedelta(days=91))
    used_up(of_account())
    assert_problem(sign_in(), 429, "throttled")
    assert not tasks.forget_addresses(threading.Event())
    assert not KnownAddress.objects.exists()


def test_no_address_can_be_read(account, sign_in):
    sign_in()
    (row,) = KnownAddress.objects.values_list("key", "user_id")
    assert HOME not in str(row)


def test_deleting_a_user_forgets_the_addresses(api, account, sign_in):
    sign_in()
    assert api.delete(f"/api/users/{account['id']}").status_code == 204
    assert not KnownAddress.objects.exists()


# Right passwords.


def test_a_right_password_is_counted_in_a_window_of_its_own(account, sign_in, settings):
    settings.PLATFORM_ENV = "production"
    for _ in range(3):
        assert sign_in().status_code == 200
    assert [counted(limit) for limit in successes()] == [3, 3]
    assert [counted(limit) for limit in attempts("sign-in", "ann@example.com", HOME)] == [0, 0, 0]
    assert all(row.resets_at > now() + timedelta(minutes=59) for row in Throttle.objects.filter(count=3))


@pytest.mark.parametrize("which", [0, 1], ids=["account", "address"])
def test_a_right_password_cannot_be_repeated_without_end(account, sign_in, settings, monkeypatch, which):
    settings.PLATFORM_ENV = "production"
    used_up(successes()[which])
    runs = []
    monkeypatch.setattr(Argon2Hasher, "verify", lambda *args: runs.append(1))
    assert_problem(sign_in(), 429, "throttled")
    assert not runs, "a hash was computed nevertheless"


def test_the_account_has_its_limit_in_development_too(account, sign_in):
    used_up(successes()[0])
    assert_problem(sign_in(), 429, "throttled")


def test_wrong_passwords_do_not_use_up_the_limit_of_right_ones(account, sign_in, settings):
    """Otherwise strangers could lock out the owner with it."""
    settings.PLATFORM_ENV = "production"
    for n in range(14):
        sign_in(password=f"guess {n}")
    assert [counted(limit) for limit in successes()] == [0, 0]


def test_no_header_tells_strangers_how_often_the_owner_has_signed_in(account, sign_in):
    used_up(successes()[0])
    Throttle.objects.update(count=199)
    known, unknown = sign_in(password="guess"), sign_in("nobody@example.com", "guess")
    assert known["RateLimit-Policy"] == unknown["RateLimit-Policy"]
    assert known["RateLimit"].split(";t=")[0] == unknown["RateLimit"].split(";t=")[0]


def test_the_right_password_of_a_disabled_account_is_a_wrong_one(account, sign_in):
    User.objects.update(is_active=False)
    assert sign_in().status_code == 401
    assert counted(successes()[0]) == 0
    assert counted(of_account()) == 1


def test_a_busy_hasher_counts_as_neither(account, sign_in, monkeypatch):
    def busy(*args):
        raise Unavailable()

    monkeypatch.setattr(Argon2Hasher, "verify", busy)
    assert sign_in().status_code == 503
    assert counted(successes()[0]) == counted(of_account()) == 0


@pytest.mark.django_db(transaction=True)
def test_right_passwords_at_once_are_counted_one_by_one(account, sign_in):
    limit = successes()[0]
    used_up(limit)
    Throttle.objects.update(count=limit.most - 3)
    answers = at_once([sign_in for _ in range(8)])
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 5


def test_changes_of_the_password_count_as_well(api, account, session):
    headers = {"Authorization": f"Bearer {session['access']}"}
    body = {"current": PASSWORD, "new": "another good one 42"}
    before = counted(successes()[0])
    assert api.post("/api/users/me/password", body, headers=headers).status_code == 204
    assert counted(successes()[0]) == before + 1
    used_up(successes()[0])
    assert_problem(api.post("/api/users/me/password", body, headers=headers), 429, "throttled")
