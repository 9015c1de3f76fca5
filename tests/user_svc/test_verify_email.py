"""EMAIL_VERIFICATION=on: sign-up by mail, a change of the address, and POST /api/auth/verify-email."""

import json
import threading
from datetime import timedelta

import pytest
from django.contrib.auth.hashers import check_password
from django.utils.timezone import now

from platform_core.conf import service_settings
from platform_core.events.models import Event
from platform_core.models import Throttle
from platform_core.outbox.models import OutboxMessage
from platform_core.vocabulary import MessageKind
from tests.admin_pages import url
from tests.user_svc.conftest import PASSWORD, deliver
from tests.user_svc.test_reset_password import everything_stored
from tests.wire import assert_problem, at_once, form_fields, statements_of
from user_svc import services, tasks
from user_svc.models import AccountToken, User

pytestmark = pytest.mark.django_db(transaction=True)
VERIFY = "/api/auth/verify-email"
NEW = {"name": "New", "email": "New@Example.com", "phone": "+1 555", "address": "1 Elm Street", "password": PASSWORD}


@pytest.fixture
def ann(person) -> dict[str, str]:
    """A user whose address is verified."""
    pk = person("ann@example.com", email_verified=True)
    return {"id": str(pk), "email": "ann@example.com"}


@pytest.fixture
def verification(settings, mails) -> None:
    settings.EMAIL_VERIFICATION = True


@pytest.fixture
def follow(api, mails):
    """Delivers all mails, and follows the newest link, or the link with ``token``."""

    def follow(token=None):
        deliver()
        return api.post(VERIFY, {"token": token or mails.tokens()[-1]})

    return follow


def clean_up():
    while tasks.clean_up(threading.Event()):
        pass


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({}, False),
        ({"EMAIL_VERIFICATION": "on"}, True),
        ({"PLATFORM_ENV": "production"}, True),
        ({"PLATFORM_ENV": "production", "EMAIL_VERIFICATION": "off"}, False),
    ],
)
def test_it_is_on_in_production_unless_it_is_set(environment, expected):
    assert service_settings("user_svc", environment=environment)["EMAIL_VERIFICATION"] is expected


# Off, as in development.


def test_off_an_account_begins_at_once_and_is_verified(api, mails):
    answer = api.post("/api/users", NEW)
    assert answer.status_code == 201
    assert (answer.json()["emailVerified"], answer.json()["pendingEmail"]) == (True, None)
    changed = api.patch(f"/api/users/{answer.json()['id']}", {"email": "other@example.com"}).json()
    assert (changed["email"], changed["emailVerified"], changed["pendingEmail"]) == ("other@example.com", True, None)
    assert not OutboxMessage.objects.exists()


def test_addresses_count_as_verified_after_it_was_switched_off(settings, verification, person, api):
    pk = person("bob@example.com")
    assert api.get(f"/api/users/{pk}").json()["emailVerified"] is False
    clean_up()
    assert User.objects.get(pk=pk).email_verified is False
    settings.EMAIL_VERIFICATION = False
    clean_up()
    after = api.get(f"/api/users/{pk}")
    assert after.json()["emailVerified"] is True
    assert after["ETag"] == '"2"'


# Sign-up.


def test_an_account_begins_when_the_link_is_followed(verification, api, mails, follow, sign_in):
    answer = api.post("/api/users", NEW)
    assert (answer.status_code, answer.content) == (202, b"")
    assert "Location" not in answer
    assert not User.objects.exists()
    assert sign_in(NEW["email"]).status_code == 401
    assert follow().status_code == 204
    (mail,) = mails
    user = User.objects.get()
    assert (mail["recipient"], mail["confidential"], mail["userId"]) == ("New@Example.com", True, str(user.pk))
    assert "New" not in mail["message"] and "Elm" not in mail["message"]
    assert (user.name, user.email, user.phone, user.address) == ("New", "New@Example.com", "+1 555", "1 Elm Street")
    assert (user.email_verified, user.roles, user.is_active) == (True, [], True)
    assert [(event.type, event.subject) for event in Event.objects.all()] == [("user.created", str(user.pk))]
    assert sign_in(NEW["email"]).status_code == 200


def test_an_address_that_is_taken_gets_the_same_answer_and_another_mail(verification, api, ann, mails):
    answer, free = api.post("/api/users", {**NEW, "email": "ANN@example.com"}), api.post("/api/users", NEW)
    assert (answer.status_code, answer.content) == (free.status_code, free.content) == (202, b"")
    assert set(answer.headers) == set(free.headers)
    deliver()
    taken, other = sorted(mails, key=lambda mail: mail["type"])
    assert (taken["userId"], taken["type"]) == (ann["id"], "sign_up_repeated")
    assert "#token=" not in taken["message"] and "recipient" not in taken
    assert other["recipient"] == NEW["email"]
    assert User.objects.count() == 1
    assert "Elm" not in json.dumps(AccountToken.objects.get(email_key="ann@example.com").profile)


def test_the_request_does_the_same_whether_the_address_is_taken_or_not(verification, api, ann):
    def ask(email):
        return [each.split()[:3] for each in statements_of(lambda: api.post("/api/users", {**NEW, "email": email}))]

    assert ask("ann@example.com") == ask("free@example.com")


def test_the_staff_gets_201_and_409(verification, api, ann, as_user, mails, follow):
    headers = as_user(99, "support")
    assert_problem(api.post("/api/users", {**NEW, "email": "ann@example.com"}, headers=headers), 409, "email_taken")
    made = api.post("/api/users", NEW, headers=headers)
    assert made.status_code == 201
    assert (made.json()["emailVerified"], made.json()["pendingEmail"]) == (False, None)
    assert follow().status_code == 204
    assert api.get(made["Location"]).json()["emailVerified"] is True


def test_a_customer_is_told_no_more_than_anybody(verification, api, ann, as_user):
    answer = api.post("/api/users", {**NEW, "email": "ann@example.com"}, headers=as_user(ann["id"]))
    assert answer.status_code == 202


def test_a_bad_sign_up_is_refused_at_once(verification, api):
    assert_problem(api.post("/api/users", {"name": "", "email": "x", "password": "1"}), 400, "invalid")
    assert not AccountToken.objects.exists()


def test_a_sign_up_with_a_key_sends_one_mail(verification, api, mails):
    answers = [api.post("/api/users", NEW, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert [(answer.status_code, answer.content) for answer in answers] == [(202, b"")] * 2
    assert answers[1]["Idempotent-Replayed"] == "true"
    deliver()
    assert len(mails) == 1


def erasures():
    """The ids that notification-service is to erase."""
    rows = OutboxMessage.objects.filter(kind=MessageKind.PERSON_ERASE, payload__service="notification-service")
    return [row.payload["userId"] for row in rows]


def test_a_link_works_once(verification, api, follow, mails):
    api.post("/api/users", NEW)
    assert follow().status_code == 204
    assert_problem(follow(), 400, "invalid", ["token"])
    assert User.objects.count() == 1


def test_of_two_followers_at_once_one_succeeds(verification, api, mails):
    api.post("/api/users", NEW)
    deliver()
    answers = at_once([lambda: api.post(VERIFY, {"token": mails.tokens()[0]}) for _ in range(4)])
    assert sorted(answer.status_code for answer in answers) == [204, 400, 400, 400]


def test_of_two_sign_ups_with_an_address_the_first_link_counts(verification, api, mails, follow):
    for name in ("New", "Mallory"):
        api.post("/api/users", {**NEW, "name": name})
        deliver()
    second = AccountToken.objects.get(profile__name="Mallory").profile["id"]
    assert follow(mails.tokens()[0]).status_code == 204
    assert_problem(follow(mails.tokens()[1]), 400, "invalid", ["token"])
    assert User.objects.get().name == "New"
    assert erasures() == [second], "the mail of the other sign-up is erased"


def test_an_address_that_was_taken_meanwhile_is_a_409(verification, api, mails, follow, person):
    api.post("/api/users", NEW)
    deliver()
    person("new@example.com", email_verified=True)
    assert_problem(follow(), 409, "email_taken")


def test_a_link_expires_after_a_day_and_nothing_of_the_sign_up_is_left(verification, api, mails, follow):
    api.post("/api/users", NEW)
    deliver()
    row = AccountToken.objects.get()
    assert timedelta(hours=23, minutes=59) < row.expires_at - now() <= timedelta(hours=24)
    assert erasures() == []
    AccountToken.objects.update(expires_at=now() - timedelta(seconds=1))
    assert_problem(follow(), 400, "invalid", ["token"])
    clean_up()
    assert "Elm Street" not in everything_stored()
    assert erasures() == [row.profile["id"]], "the mail is erased"


def test_the_profile_is_erased_when_the_link_was_followed(verification, api, follow):
    api.post("/api/users", NEW)
    assert follow().status_code == 204
    assert AccountToken.objects.get().profile == {}


@pytest.mark.parametrize("token", ["x", "", None, 5, "A" * 43, "x" * 201])
def test_an_unknown_token_is_refused(api, token):
    assert_problem(api.post(VERIFY, {"token": token}), 400, "invalid", ["token"])


def test_guesses_are_limited_by_address(api):
    assert api.post(VERIFY, {"token": "x"}).status_code == 400
    Throttle.objects.update(count=100)
    assert_problem(api.post(VERIFY, {"token": "x"}), 429, "throttled")


def test_no_token_can_be_read(verification, api, mails):
    api.post("/api/users", NEW)
    before = everything_stored()
    deliver()
    (token,) = mails.tokens()
    assert token not in before + everything_stored()


# A new address.


def test_the_old_address_stays_until_the_link_is_followed(verification, api, ann, mails, follow):
    path = f"/api/users/{ann['id']}"
    changed = api.patch(path, {"email": "other@example.com", "phone": "5"})
    assert changed.status_code == 200
    shown = {"email": "ann@example.com", "pendingEmail": "other@example.com", "emailVerified": True, "phone": "5"}
    assert {name: changed.json()[name] for name in shown} == shown
    assert api.get("/api/users?email=other@example.com").json()["results"] == []
    assert follow().status_code == 204
    assert [mail["recipient"] for mail in mails] == ["other@example.com"]
    after = api.get(path).json()
    assert (after["email"], after["pendingEmail"], after["emailVerified"]) == ("other@example.com", None, True)
    assert User.objects.get().email_key == "other@example.com"


def test_what_was_read_may_be_written_back_while_an_address_is_pending(verification, api, ann, mails, follow):
    path = f"/api/users/{ann['id']}"
    api.patch(path, {"email": "other@example.com"})
    read = api.get(path).json()
    assert api.put(path, {"name": read["name"], "email": read["email"]}).json()["pendingEmail"] == "other@example.com"
    assert follow().status_code == 204
    assert len(mails) == 1


def test_an_address_in_another_spelling_is_verified_too(verification, api, ann, mails):
    changed = api.patch(f"/api/users/{ann['id']}", {"email": "ANN@example.com"}).json()
    assert (changed["email"], changed["pendingEmail"]) == ("ann@example.com", "ANN@example.com")


def test_the_link_for_an_earlier_address_is_worthless(verification, api, ann, mails, follow):
    for email in ("one@example.com", "two@example.com"):
        api.patch(f"/api/users/{ann['id']}", {"email": email})
        deliver()
    assert_problem(follow(mails.tokens()[0]), 400, "invalid", ["token"])
    assert follow(mails.tokens()[1]).status_code == 204
    assert User.objects.get().email == "two@example.com"


def test_a_taken_address_is_a_409(verification, api, ann, person):
    person("bob@example.com", email_verified=True)
    assert_problem(api.patch(f"/api/users/{ann['id']}", {"email": "BOB@example.com"}), 409, "email_taken")
    assert User.objects.get(pk=ann["id"]).pending_email is None


def test_an_address_that_is_not_verified_in_time_is_forgotten(verification, api, ann, mails):
    api.patch(f"/api/users/{ann['id']}", {"email": "other@example.com"})
    AccountToken.objects.update(expires_at=now() - timedelta(seconds=1))
    clean_up()
    assert api.get(f"/api/users/{ann['id']}").json()["pendingEmail"] is None
    assert not AccountToken.objects.exists()


def test_a_stale_if_match_mails_nothing(verification, api, ann):
    answer = api.patch(f"/api/users/{ann['id']}", {"email": "other@example.com"}, headers={"If-Match": '"9"'})
    assert_problem(answer, 412, "precondition_failed")
    assert not OutboxMessage.objects.exists()


def test_mails_to_an_address_are_limited_whoever_causes_them(verification, api, ann):
    def cause(n):
        if n % 2:
            return api.patch(f"/api/users/{ann['id']}", {"email": "victim@example.com"})
        return api.post("/api/users", {**NEW, "email": "VICTIM@example.com"})

    statuses = [cause(n).status_code for n in range(12)]
    assert sorted(statuses) == [200] * 5 + [202] * 5 + [429] * 2


def test_in_the_admin_a_new_address_is_pending(verification, admin_client, ann, mails, follow):
    page = url(User, "change", ann["id"])
    form = form_fields(admin_client.get(page).content.decode())
    assert admin_client.post(page, {**form, "email": "other@example.com"}).status_code == 302
    assert User.objects.get().email == "ann@example.com"
    assert follow().status_code == 204
    assert User.objects.get().email == "other@example.com"


def test_the_link_of_a_disabled_account_is_worthless(verification, api, ann, mails, follow):
    api.patch(f"/api/users/{ann['id']}", {"email": "other@example.com"})
    services.update_user(int(ann["id"]), None, is_active=False)
    OutboxMessage.objects.filter(state="pending").update(available_at=now())
    deliver()
    assert mails == []


def test_deleting_a_user_deletes_what_is_pending(verification, api, ann):
    api.patch(f"/api/users/{ann['id']}", {"email": "other@example.com"})
    api.post("/api/users", {**NEW, "email": "ann@example.com"})
    assert api.delete(f"/api/users/{ann['id']}").status_code == 204
    assert not AccountToken.objects.exists()


def test_staff_that_is_made_on_the_machine_is_verified(verification):
    services.make_staff("boss@example.com", "Boss", ["admin"], PASSWORD)
    assert User.objects.get().email_verified is True
    assert check_password(PASSWORD, User.objects.get().password)


def test_a_new_password_by_mail_verifies_the_address(verification, person, api, mails):
    person("bob@example.com")
    api.post("/api/auth/password-reset", {"email": "bob@example.com"})
    deliver()
    body = {"token": mails.tokens()[-1], "password": "another good one 42"}
    assert api.post("/api/auth/password-reset/confirm", body).status_code == 204
    assert User.objects.get().email_verified is True
