"""What customers may do only soon after a sign-in, and how often they may ask whether an address is taken."""

import time

import pytest

from platform_core.auth.tokens import identify
from platform_core.models import Throttle
from tests.wire import assert_problem
from user_svc.models import Session, User

pytestmark = pytest.mark.django_db
OLD = 400
"""Seconds since the sign-in."""


@pytest.fixture
def ann_signed_in(ann, as_user):
    """Headers of Ann, who signed in some seconds ago."""

    def headers(seconds: float = 0, *roles: str):
        return as_user(ann["id"], *roles, auth_time=int(time.time() - seconds))

    return headers


def patch(api, ann, headers, **changes):
    return api.patch(f"/api/users/{ann['id']}", changes, headers=headers)


def put(api, ann, headers, **changes):
    return api.put(f"/api/users/{ann['id']}", {"name": "Ann", "email": ann["email"], **changes}, headers=headers)


@pytest.mark.parametrize("write", [patch, put])
def test_a_change_of_the_address_needs_a_recent_sign_in(api, ann, ann_signed_in, write):
    answer = write(api, ann, ann_signed_in(OLD), email="thief@example.com")
    assert_problem(answer, 403, "reauthentication_required")
    assert User.objects.get().email == "ann@example.com"
    assert write(api, ann, ann_signed_in(200), email="new@example.com").status_code == 200


def test_another_spelling_of_the_address_is_a_change(api, ann, ann_signed_in):
    assert_problem(patch(api, ann, ann_signed_in(OLD), email="ANN@example.com"), 403, "reauthentication_required")


def test_deleting_the_account_needs_a_recent_sign_in(api, ann, ann_signed_in):
    path = f"/api/users/{ann['id']}"
    assert_problem(api.delete(path, headers=ann_signed_in(OLD)), 403, "reauthentication_required")
    assert User.objects.exists()
    assert api.delete(path, headers=ann_signed_in(200)).status_code == 204


@pytest.mark.parametrize("auth_time", [0, None, "now", True, 1.5, [], -5], ids=str)
def test_a_token_that_does_not_say_when_is_not_recent(api, ann, as_user, monkeypatch, auth_time):
    from platform_core.auth import AUDIENCE
    from user_svc.signing import access_token

    claims = {"iss": "user-service", "aud": AUDIENCE, "sub": ann["id"], "roles": [], "sid": ""}
    claims |= {} if auth_time is None else {"auth_time": auth_time}
    headers = {"Authorization": f"Bearer {access_token(claims)}"}
    assert_problem(api.delete(f"/api/users/{ann['id']}", headers=headers), 403, "reauthentication_required")


@pytest.mark.parametrize("write", [patch, put])
def test_other_changes_need_none(api, ann, ann_signed_in, write):
    assert write(api, ann, ann_signed_in(OLD), phone="5").status_code == 200
    assert write(api, ann, ann_signed_in(OLD), email="ann@example.com").status_code == 200


def test_the_staff_needs_none(api, ann, person, as_user):
    sue = as_user(person("sue@example.com", "support"), "support", auth_time=1)
    assert patch(api, ann, sue, email="new@example.com").status_code == 200
    assert api.delete(f"/api/users/{ann['id']}", headers=sue).status_code == 204


def test_development_without_a_token_needs_none(api, ann):
    assert patch(api, ann, None, email="new@example.com").status_code == 200
    assert api.delete(f"/api/users/{ann['id']}").status_code == 204


def test_a_refresh_keeps_the_time_of_the_sign_in(api, session, settings):
    Session.objects.update(created_at="2026-01-02T03:04:05Z")
    pair = api.post("/api/auth/refresh", {"refresh": session["refresh"]}).json()
    assert identify(session["access"]).auth_time > time.time() - 60
    assert identify(pair["access"]).auth_time == 1767323045
    path, headers = f"/api/users/{User.objects.get().pk}", {"Authorization": f"Bearer {pair['access']}"}
    assert_problem(api.delete(path, headers=headers), 403, "reauthentication_required")


def test_a_new_sign_in_is_recent(api, account, sign_in):
    headers = {"Authorization": f"Bearer {sign_in().json()['access']}"}
    assert api.delete(f"/api/users/{account['id']}", headers=headers).status_code == 204


@pytest.mark.parametrize("write", [patch, put])
def test_whether_an_address_is_taken_is_answered_ten_times_an_hour(api, ann, person, ann_signed_in, write):
    for n in range(11):
        person(f"user{n}@example.com")
    headers = ann_signed_in()
    answers = [write(api, ann, headers, email=f"user{n}@example.com") for n in range(11)]
    assert [answer.status_code for answer in answers] == [409] * 10 + [429]
    assert_problem(answers[-1], 429, "throttled")
    assert_problem(write(api, ann, headers, email="free@example.com"), 429, "throttled")
    assert write(api, ann, headers, phone="5").status_code == 200


def test_the_limit_is_the_callers_whatever_the_address_and_the_session(api, ann, person, as_user, ann_signed_in):
    patch(api, ann, ann_signed_in(), email="a@example.com")
    Throttle.objects.update(count=10)
    assert_problem(patch(api, ann, ann_signed_in(1), email="b@example.com"), 429, "throttled")
    bob = person("bob@example.com")
    assert api.patch(f"/api/users/{bob}", {"email": "c@example.com"}, headers=as_user(bob)).status_code == 200


def test_the_staff_and_development_are_not_limited(api, ann, person, as_user):
    for n in range(12):
        assert patch(api, ann, None, email=f"a{n}@example.com").status_code == 200
        assert patch(api, ann, as_user(99, "support"), email=f"b{n}@example.com").status_code == 200
    assert not Throttle.objects.exists()
