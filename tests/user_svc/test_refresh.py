"""POST /api/auth/refresh and /api/auth/logout, and the end of sessions."""

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils.timezone import now

from platform_core.auth.tokens import identify
from tests.wire import assert_problem, at_once
from user_svc import tasks
from user_svc.models import RefreshToken, Session, User

pytestmark = pytest.mark.django_db
URL, OUT = "/api/auth/refresh", "/api/auth/logout"


@pytest.fixture
def refresh(api):
    return lambda token: api.post(URL, {"refresh": token})


def assert_over(answer):
    assert_problem(answer, 401, "not_authenticated")
    assert answer["WWW-Authenticate"] == 'Bearer realm="platform", error="invalid_token"'


def test_a_refresh_token_gives_a_new_pair(account, session, refresh):
    answer = refresh(session["refresh"])
    assert answer.status_code == 200
    assert answer["Cache-Control"] == "no-store"
    pair = answer.json()
    assert set(pair) == {"access", "refresh", "tokenType", "expiresIn"}
    assert pair["refresh"] != session["refresh"]
    old, new = identify(session["access"]), identify(pair["access"])
    assert (new.subject, new.session) == (old.subject, old.session)
    assert refresh(pair["refresh"]).status_code == 200


def test_the_new_token_has_the_roles_of_now(session, refresh):
    User.objects.update(roles=["support"])
    assert identify(refresh(session["refresh"]).json()["access"]).roles == {"support"}


def test_a_token_that_is_used_twice_ends_the_whole_session(session, refresh):
    second = refresh(session["refresh"]).json()
    third = refresh(second["refresh"]).json()
    assert_over(refresh(session["refresh"]))
    assert_over(refresh(third["refresh"]))
    assert_over(refresh(second["refresh"]))
    assert Session.objects.get().revoked_at
    assert Session.objects.get().reason == "refresh token reused"


def test_the_other_sessions_go_on(session, sign_in, refresh):
    other = sign_in().json()
    refresh(session["refresh"])
    assert_over(refresh(session["refresh"]))
    assert refresh(other["refresh"]).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_concurrent_reuse_gives_at_most_one_pair_and_it_is_invalid(session, refresh):
    answers = at_once([lambda: refresh(session["refresh"])] * 6)
    won = [answer for answer in answers if answer.status_code == 200]
    assert len(won) == 1
    for answer in answers:
        if answer not in won:
            assert_over(answer)
    assert_over(refresh(won[0].json()["refresh"]))
    assert not Session.objects.filter(revoked_at=None).exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("round", range(3))
def test_a_stolen_token_that_races_a_refresh_leaves_no_session(session, refresh, round):
    second = refresh(session["refresh"]).json()
    first, copy = at_once([lambda: refresh(second["refresh"]), lambda: refresh(session["refresh"])])
    assert_over(copy)
    if first.status_code == 200:
        assert_over(refresh(first.json()["refresh"]))
    assert not Session.objects.filter(revoked_at=None).exists()


def test_a_session_ends_after_thirty_days_however_often_it_was_refreshed(session, refresh):
    expires = Session.objects.get().expires_at
    assert abs(expires - now() - timedelta(days=30)) < timedelta(minutes=1)
    pair = refresh(session["refresh"]).json()
    assert Session.objects.get().expires_at == expires
    Session.objects.update(expires_at=now())
    assert_over(refresh(pair["refresh"]))


def test_a_disabled_account_gets_nothing_more(session, refresh):
    User.objects.update(is_active=False)
    assert_over(refresh(session["refresh"]))
    User.objects.update(is_active=True)
    assert_over(refresh(session["refresh"]))


def test_a_deleted_account_gets_nothing_more_and_leaves_nothing(api, account, session, refresh):
    assert api.delete(f"/api/users/{account['id']}").status_code == 204
    assert_over(refresh(session["refresh"]))
    assert not Session.objects.exists()
    assert not RefreshToken.objects.exists()


ODD = ["", " ", None, 5, True, [], {}, "x" * 201, "x\0y", "x\ny"]


@pytest.mark.parametrize("path", [URL, OUT])
@pytest.mark.parametrize("token", ODD, ids=lambda token: repr(token)[:10])
def test_an_invalid_refresh_token_is_refused_by_field(api, path, token):
    assert_problem(api.post(path, {"refresh": token}), 400, "invalid", ["refresh"])
    assert_problem(api.post(path, {}), 400, "invalid", ["refresh"])


@pytest.mark.parametrize("body", ['{"refresh": "\\ud800"}', "[]", "null", "{", ""])
@pytest.mark.parametrize("path", [URL, OUT])
def test_an_invalid_body_is_refused(send, path, body):
    assert send("POST", path, body).status_code == 400


@pytest.mark.parametrize("token", ["unknown", "é", "🔑", "../x", "%00", "' OR 1=1"])
def test_an_unknown_refresh_token_is_refused_and_ends_no_session(session, refresh, token):
    assert_over(refresh(token))
    assert refresh(session["refresh"]).status_code == 200


def test_an_access_token_cannot_be_used_to_refresh(session, refresh, api):
    answer = refresh(session["access"])
    assert answer.status_code in (400, 401)
    headers = {"Authorization": f"Bearer {session['refresh']}"}
    assert_problem(api.get("/api/users/me", headers), 401, "not_authenticated")


def test_only_hashes_are_kept(session, refresh):
    pair = refresh(session["refresh"]).json()
    with connection.cursor() as cursor:
        cursor.execute("SELECT t::text, s::text FROM user_svc_refreshtoken t JOIN user_svc_session s ON true")
        kept = str(cursor.fetchall())
    for token in (session["refresh"], pair["refresh"]):
        assert token[:16] not in kept
        assert token[:16].encode().hex() not in kept
    assert all(len(bytes(row.hash)) == 32 for row in RefreshToken.objects.all())


def test_a_stored_hash_is_not_accepted_as_a_token(session, refresh):
    kept = bytes(RefreshToken.objects.get().hash)
    assert_over(refresh(kept.hex()))
    assert refresh(session["refresh"]).status_code == 200


def test_logging_out_ends_the_session(session, refresh, api):
    answer = api.post(OUT, {"refresh": session["refresh"]})
    assert (answer.status_code, answer.content) == (204, b"")
    assert_over(refresh(session["refresh"]))


def test_logging_out_with_a_spent_token_ends_the_session_too(session, refresh, api):
    pair = refresh(session["refresh"]).json()
    assert api.post(OUT, {"refresh": session["refresh"]}).status_code == 204
    assert_over(refresh(pair["refresh"]))


def test_logging_out_leaves_the_other_sessions(session, sign_in, refresh, api):
    other = sign_in().json()
    api.post(OUT, {"refresh": session["refresh"]})
    assert refresh(other["refresh"]).status_code == 200


@pytest.mark.parametrize("token", ["unknown", "é", "x" * 200])
def test_logging_out_with_an_unknown_token_is_no_error(session, api, refresh, token):
    assert api.post(OUT, {"refresh": token}).status_code == 204
    assert refresh(session["refresh"]).status_code == 200


def test_signing_out_twice_is_not_an_error(session, api):
    for _ in range(2):
        assert api.post(OUT, {"refresh": session["refresh"]}).status_code == 204


def tidy_up() -> int:
    """Runs housekeeping until nothing more is due."""
    rounds = 1
    while tasks.forget_sessions(threading.Event()):
        rounds += 1
    return rounds


def test_sessions_whose_time_is_over_are_forgotten(account, sign_in, refresh):
    over, current = sign_in().json(), sign_in().json()
    refresh(over["refresh"])
    gone = Session.objects.order_by("created_at").first()
    Session.objects.filter(pk=gone.pk).update(expires_at=now() - timedelta(seconds=1))
    tidy_up()
    assert Session.objects.count() == RefreshToken.objects.count() == 1
    assert refresh(current["refresh"]).status_code == 200


def test_a_revoked_session_is_kept_until_its_time_is_over_so_that_copies_are_known(session, refresh):
    refresh(session["refresh"])
    assert_over(refresh(session["refresh"]))
    tidy_up()
    assert RefreshToken.objects.count() == 2


def test_a_session_with_very_many_tokens_is_deleted_in_small_steps(session, monkeypatch):
    """Each step must end within the statement timeout, even after very many refreshes."""
    monkeypatch.setattr(tasks, "BATCH", 10)
    only = Session.objects.get()
    RefreshToken.objects.bulk_create(
        RefreshToken(hash=bytes([n]) * 32, session=only, spent_at=now()) for n in range(25)
    )
    Session.objects.update(expires_at=now() - timedelta(seconds=1))
    assert tidy_up() == 3
    assert not Session.objects.exists()
