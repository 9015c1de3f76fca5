"""An account or a session that has ended has ended at user-service at once, whatever its access token says."""

import pytest

from tests.wire import assert_problem
from user_svc import services
from user_svc.models import Session, User

pytestmark = pytest.mark.django_db


@pytest.fixture
def bearer(session, settings):
    settings.PLATFORM_ENV = "production"
    return {"Authorization": f"Bearer {session['access']}"}


ENDS = {
    "another sign-in's password change": lambda pk: services.update_user(pk, None, password="another horse battery"),
    "a disabled account": lambda pk: services.update_user(pk, None, is_active=False),
    "a deleted account": lambda pk: services.delete_user(pk, None),
    "a revoked session": lambda pk: services.revoke(Session.objects.all(), "signed out"),
    "an expired session": lambda pk: Session.objects.update(expires_at="2020-01-01T00:00:00Z"),
    "a session that is gone": lambda pk: Session.objects.all().delete(),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_the_access_token_of_an_ended_session_does_nothing(api, account, bearer, end):
    path = f"/api/users/{account['id']}"
    assert api.patch(path, {"phone": "1"}, headers=bearer).status_code == 200
    end(int(account["id"]))
    for answer in (
        api.patch(path, {"email": "thief@example.com"}, headers=bearer),
        api.get(path, bearer),
        api.get("/api/users/me", bearer),
        api.delete(path, headers=bearer),
        api.post("/api/users/me/password", {"current": "x", "new": "another horse battery"}, headers=bearer),
    ):
        assert_problem(answer, 401, "not_authenticated")
        assert 'error="invalid_token"' in answer["WWW-Authenticate"]
    assert not User.objects.filter(email="thief@example.com").exists()


def test_the_session_that_changes_the_password_goes_on(api, account, bearer):
    body = {"current": "correct horse battery", "new": "another horse battery"}
    assert api.post("/api/users/me/password", body, headers=bearer).status_code == 204
    assert api.get("/api/users/me", bearer).status_code == 200


def test_a_token_names_no_other_users_session(api, account, bearer, sign_in):
    other = User.objects.create(name="Bob", email="bob@example.com")
    Session.objects.update(user=other)
    assert_problem(api.get("/api/users/me", bearer), 401, "not_authenticated")
