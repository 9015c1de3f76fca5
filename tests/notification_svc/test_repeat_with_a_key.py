"""POST /api/notifications/send with an Idempotency-Key: the message keeps the sender's key for ever."""

import pytest
from django.db import transaction

from notification_svc.models import Notification
from platform_core.models import IdempotencyKey
from platform_core.outbox.models import OutboxMessage
from tests.notification_svc.conftest import NOBODY, deliver
from tests.wire import Caller, assert_problem, at_once

pytestmark = pytest.mark.django_db
REPLAYED = "Idempotent-Replayed"


def test_a_repetition_gets_the_first_answer_and_creates_no_second_message(send):
    first = send(key="k-1")
    assert not first.has_header(REPLAYED)
    for _ in range(2):
        again = send(key="k-1")
        assert again[REPLAYED] == "true"
        assert (again.status_code, again.content) == (201, first.content)
    assert Notification.objects.count() == OutboxMessage.objects.count() == 1


def test_a_known_key_gets_its_answer_even_if_a_newer_rule_refuses_the_body(send, monkeypatch):
    with monkeypatch.context() as earlier_version:
        earlier_version.setattr("platform_core.api.row_readers.unknown_members", lambda *_: {})
        first = send(key="k-1", colour="red")
    again = send(key="k-1", colour="red")
    assert (again.status_code, again.content, again[REPLAYED]) == (201, first.content, "true")
    assert_problem(send(key="k-2", colour="red"), 400, "invalid", ["colour"])
    assert_problem(send(key="k-1", colour="blue"), 422, "idempotency_key_reused")
    assert Notification.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_key_is_remembered_after_the_message_was_sent_and_everything_else_was_swept(send, users, mailoutbox):
    first = send(key="k-1")
    deliver()
    IdempotencyKey.objects.all().delete()
    OutboxMessage.objects.all().delete()
    again = send(key="k-1")
    assert again[REPLAYED] == "true"
    assert again.content == first.content
    deliver()
    assert len(mailoutbox) == 1


@pytest.mark.django_db(transaction=True)
def test_a_repetition_gets_the_first_answer_after_the_message_failed(send, users, state):
    first = send(key="k-1", userId=NOBODY)
    deliver()
    assert state(first)["status"] == "failed"
    assert send(key="k-1", userId=NOBODY).content == first.content


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("recipient", ["", "other@example.com"])
def test_a_repetition_has_the_recipient_of_the_first_answer(send, users, state, recipient):
    """Without one, the address is filled in at delivery, and a repetition does not know it."""
    first = send(key="k-1", recipient=recipient)
    deliver()
    assert state(first)["recipient"] == (recipient or "ann@example.com")
    again = send(key="k-1", recipient=recipient)
    assert again.content == first.content
    assert again.json()["recipient"] == recipient


@pytest.mark.parametrize(
    "change", [{"data": {"a": 1}}, {"message": "Other"}, {"userId": 2}, {"channel": "log"}, {"type": "x"}]
)
def test_another_message_with_the_same_key_is_refused(send, change):
    first = send(key="k-1")
    assert_problem(send(key="k-1", **change), 422, "idempotency_key_reused")
    assert Notification.objects.count() == 1
    assert send(key="k-1").content == first.content


def test_other_keys_and_none_are_other_messages(send):
    for key in ("k-1", "K-1", "k-2", None, None):
        assert not send(key=key).has_header(REPLAYED)
    assert Notification.objects.count() == OutboxMessage.objects.count() == 5


def test_a_malformed_request_does_not_use_its_key(send):
    assert_problem(send(key="k-1", message=""), 400, "invalid")
    assert not send(key="k-1").has_header(REPLAYED)


@pytest.mark.parametrize("key", ["", "a" * 256, "é"])
def test_a_malformed_key_is_refused(api, key):
    body = {"userId": 1, "message": "Hi"}
    answer = api.client.post("/api/notifications/send", body, format="json", HTTP_IDEMPOTENCY_KEY=key)
    assert_problem(answer, 400, "invalid", ["Idempotency-Key"])
    assert not Notification.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_concurrent_duplicates_create_one_message(send):
    answers = at_once([lambda: send(key="k-1")] * 6)
    taken = [answer for answer in answers if answer.status_code == 201]
    assert len([answer for answer in taken if not answer.has_header(REPLAYED)]) == 1
    for answer in answers:
        if answer not in taken:
            assert_problem(answer, 409, "idempotency_in_progress")
            assert answer["Retry-After"]
    assert Notification.objects.count() == OutboxMessage.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_concurrent_duplicate_does_not_wait_for_the_first_transaction(send):
    with transaction.atomic():
        send(key="k-1")
        assert_problem(Caller(lambda: send(key="k-1")).answer(), 409, "idempotency_in_progress")
    assert send(key="k-1")[REPLAYED] == "true"
