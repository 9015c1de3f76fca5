"""POST /api/auth/password-reset and /api/auth/password-reset/confirm."""

import threading
from datetime import timedelta

import pytest
from django.contrib.auth.hashers import check_password
from django.db import connection
from django.utils.timezone import now

from platform_core.models import Throttle
from platform_core.outbox.models import OutboxMessage
from tests.user_svc.conftest import PASSWORD, deliver
from tests.wire import assert_problem, at_once, statements_of
from user_svc import services, tasks
from user_svc.models import AccountToken, Session, User

pytestmark = pytest.mark.django_db(transaction=True)
ASK, CONFIRM = "/api/auth/password-reset", "/api/auth/password-reset/confirm"
NEW = "another good one 42"


@pytest.fixture
def ask(api):
    def ask(email="ann@example.com", address="203.0.113.7"):
        return api.client.post(ASK, {"email": email}, format="json", REMOTE_ADDR=address)

    return ask


@pytest.fixture
def confirm(api):
    def confirm(token, password=NEW):
        return api.post(CONFIRM, {"token": token, "password": password})

    return confirm


@pytest.fixture
def token(account, ask, mails) -> str:
    """A token that was mailed to Ann."""
    assert ask().status_code == 202
    deliver()
    (found,) = mails.tokens()
    return found


def everything_stored() -> str:
    """All rows of all tables as text."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
        tables = [name for (name,) in cursor.fetchall()]
        texts = []
        for table in tables:
            cursor.execute(f'SELECT t::text FROM "{table}" t')
            texts += [row for (row,) in cursor.fetchall()]
    return "\n".join(texts)


def test_a_link_is_mailed_and_sets_a_new_password(account, ask, mails, confirm, sign_in, settings):
    settings.ACCOUNT_LINKS_URL = "https://shop.example.com/account"
    answer = ask()
    assert (answer.status_code, answer.content) == (202, b"")
    deliver()
    (mail,) = mails
    assert (mail["userId"], mail["recipient"], mail["type"]) == (account["id"], "ann@example.com", "password_reset")
    assert mail["confidential"] is True
    assert f"https://shop.example.com/account/reset-password#token={mails.tokens()[0]}" in mail["message"]
    assert confirm(mails.tokens()[0]).status_code == 204
    assert check_password(NEW, User.objects.get().password)
    assert sign_in(password=NEW).status_code == 200


def test_all_sessions_end(api, session, token, confirm):
    assert confirm(token).status_code == 204
    assert not Session.objects.filter(revoked_at=None).exists()
    assert_problem(api.post("/api/auth/refresh", {"refresh": session["refresh"]}), 401, "not_authenticated")
    headers = {"Authorization": f"Bearer {session['access']}"}
    assert_problem(api.get("/api/users/me", headers), 401, "not_authenticated")


@pytest.mark.parametrize("email", ["nobody@example.com", "no address", "a\u2028b@x.com", "%s"])
def test_an_unknown_address_gets_the_same_answer_and_no_mail(account, ask, mails, email):
    answer, known = ask(email), ask()
    assert (answer.status_code, answer.content) == (known.status_code, known.content) == (202, b"")
    deliver()
    assert [mail["recipient"] for mail in mails] == ["ann@example.com"]
    assert not OutboxMessage.objects.exclude(state="delivered").exists()


def test_the_request_does_the_same_for_a_known_and_an_unknown_address(account, ask):
    """So the time of the answer reveals nothing: no statement looks for an account."""
    known, unknown = statements_of(ask), statements_of(lambda: ask("nobody@example.com"))
    assert [each.split()[:3] for each in known] == [each.split()[:3] for each in unknown]
    assert not any("user_svc_user" in each for each in known)


def test_a_disabled_account_gets_no_mail(account, ask, mails):
    User.objects.update(is_active=False)
    ask()
    deliver()
    assert mails == []


def test_the_spelling_of_the_address_makes_no_difference(account, ask, mails):
    ask(" ANN@Example.com ")
    deliver()
    assert [mail["recipient"] for mail in mails] == ["ann@example.com"]


@pytest.mark.parametrize("body", [{}, {"email": ""}, {"email": None}, {"email": 5}, {"email": "a" * 255}])
def test_a_body_without_an_address_is_refused(api, body):
    assert_problem(api.post(ASK, body), 400, "invalid", ["email"])


def test_a_token_works_once(token, confirm):
    assert confirm(token).status_code == 204
    (error,) = assert_problem(confirm(token, "a third one, 43"), 400, "invalid", ["token"])
    assert error["code"] == "invalid_token"
    assert check_password(NEW, User.objects.get().password)


def test_of_two_uses_at_once_one_succeeds(token, confirm):
    answers = at_once([lambda n=n: confirm(token, f"a fine password {n}") for n in range(4)])
    assert sorted(answer.status_code for answer in answers) == [204, 400, 400, 400]


def test_a_token_expires_after_an_hour(token, confirm):
    row = AccountToken.objects.get()
    assert timedelta(minutes=59) < row.expires_at - now() <= timedelta(hours=1)
    AccountToken.objects.update(expires_at=now() - timedelta(seconds=1))
    assert_problem(confirm(token), 400, "invalid", ["token"])


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "é" * 20, "x" * 201, None, 5])
def test_an_unknown_token_is_refused(account, confirm, token):
    assert_problem(confirm(token), 400, "invalid", ["token"])
    assert check_password(PASSWORD, User.objects.get().password)


@pytest.mark.parametrize("password", ["short", "password123", "1234567890", "ann@example.com", ""])
def test_a_weak_password_is_refused_and_the_token_still_works(token, confirm, password):
    assert_problem(confirm(token, password), 400, "invalid", ["password"])
    assert confirm(token).status_code == 204


CHANGES = {
    "the password was changed": lambda pk: services.update_user(pk, None, password="one more, 44"),
    "the address was changed": lambda pk: services.update_user(pk, None, email="other@example.com"),
    "the account is disabled": lambda pk: services.update_user(pk, None, is_active=False),
    "the account is deleted": lambda pk: services.delete_user(pk, None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_token_is_worthless_when(token, confirm, change):
    CHANGES[change](User.objects.get().pk)
    assert_problem(confirm(token), 400, "invalid", ["token"])


def test_an_account_without_a_password_gets_one(ann, ask, mails, confirm, sign_in):
    ask()
    deliver()
    assert confirm(mails.tokens()[0]).status_code == 204
    assert sign_in(password=NEW).status_code == 200


def test_a_second_request_does_not_spoil_the_first_link(account, ask, mails, confirm):
    """Otherwise anybody could keep the owner from a new password."""
    ask()
    ask()
    deliver()
    assert len(set(mails.tokens())) == 2
    assert confirm(mails.tokens()[0]).status_code == 204
    assert_problem(confirm(mails.tokens()[1]), 400, "invalid", ["token"])


def test_mails_to_an_account_are_limited_over_all_addresses(account, ask, mails):
    answers = [ask("ANN@example.com" if n % 2 else "ann@example.com", f"198.51.100.{n}") for n in range(12)]
    assert [answer.status_code for answer in answers] == [202] * 10 + [429] * 2
    assert_problem(answers[-1], 429, "throttled")
    assert 1 <= int(answers[-1]["Retry-After"]) <= 900
    deliver()
    assert len(mails) == 10


def test_requests_of_an_address_are_limited(ask):
    Throttle.objects.all().delete()
    ask("a@example.com")
    Throttle.objects.update(count=100)
    assert_problem(ask("b@example.com"), 429, "throttled")
    assert ask("b@example.com", "198.51.100.1").status_code == 202


def test_guesses_at_tokens_are_limited_by_address_and_successes_are_not_counted(token, confirm):
    assert confirm("x").status_code == 400
    assert sorted(Throttle.objects.filter(count__gt=0).values_list("count", flat=True)) == [1, 1, 1]
    assert confirm(token).status_code == 204
    assert sorted(Throttle.objects.filter(count__gt=0).values_list("count", flat=True)) == [1, 1, 1]
    Throttle.objects.update(count=100)
    assert_problem(confirm("x"), 429, "throttled")


def test_neither_token_nor_address_can_be_read_before_and_after_delivery(account, ask, mails, caplog):
    mails.status = 503
    ask()
    ask("stranger@example.org")
    before = everything_stored()
    deliver()
    waiting = everything_stored()
    mails.status = 201
    OutboxMessage.objects.update(available_at=now() - timedelta(seconds=1))
    deliver()
    (token,) = mails.tokens()
    for stored in (before, waiting, everything_stored()):
        assert token not in stored
        assert "stranger@example.org" not in stored
    assert token not in caplog.text
    assert [message.payload for message in OutboxMessage.objects.all()] == [{}, {}]


def test_a_mail_that_was_given_up_is_erased_and_cannot_be_sent_later(account, ask, mails):
    mails.status = 422
    ask()
    deliver()
    message = OutboxMessage.objects.get()
    assert (message.state, message.payload) == ("dead", {})
    mails.status = 201
    OutboxMessage.objects.update(state="pending", attempts=0, available_at=now())
    deliver()
    assert mails == []
    assert "has been erased" in OutboxMessage.objects.get().last_error


def test_a_repeated_delivery_sends_the_same_mail(account, ask, mails):
    ask()
    (first,) = OutboxMessage.objects.all()
    deliver()
    OutboxMessage.objects.update(state="pending", payload=first.payload, available_at=now())
    deliver()
    assert mails[0] == mails[1]
    assert AccountToken.objects.count() == 1


def test_a_repeated_delivery_does_not_revive_a_used_token(account, ask, mails, confirm):
    ask()
    (first,) = OutboxMessage.objects.all()
    deliver()
    assert confirm(mails.tokens()[0]).status_code == 204
    OutboxMessage.objects.update(state="pending", payload=first.payload, available_at=now())
    deliver()
    assert len(mails) == 1
    assert_problem(confirm(mails.tokens()[0]), 400, "invalid", ["token"])


def test_a_mail_that_comes_too_late_is_not_sent(account, ask, mails):
    ask()
    OutboxMessage.objects.update(created_at=now() - timedelta(hours=2))
    deliver()
    assert mails == []
    assert OutboxMessage.objects.get().state == "delivered"


def test_a_mail_that_was_encrypted_with_another_key_is_given_up(account, ask, mails, settings):
    ask()
    settings.SECRET_KEY = "another " * 10
    deliver()
    message = OutboxMessage.objects.get()
    assert (message.state, message.last_error[:16]) == ("dead", "PermanentFailure")


def test_expired_tokens_are_deleted(token, account, monkeypatch):
    monkeypatch.setattr(tasks, "BATCH", 2)
    old = now() - timedelta(seconds=1)
    values = {"user_id": account["id"], "purpose": "reset", "email": "x@x.com", "email_key": "x@x.com"}
    values |= {"expires_at": old}
    AccountToken.objects.bulk_create(AccountToken(hash=bytes([n]) * 32, **values) for n in range(3))
    assert tasks.forget_tokens(threading.Event())
    assert not tasks.forget_tokens(threading.Event())
    assert AccountToken.objects.count() == 1
