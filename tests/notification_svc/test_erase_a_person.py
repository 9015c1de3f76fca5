"""DELETE and GET /api/people/{id}: what notification-service holds of a person, and its erasure."""

import json

import pytest
from django.db import transaction

from notification_svc import channels, privacy
from notification_svc.models import Notification
from platform_core.events.models import Event
from platform_core.models import ErasedPerson
from platform_core.outbox.models import OutboxMessage
from platform_core.privacy import erase_person
from tests.admin_pages import act, said
from tests.notification_svc.conftest import ANN, HELLO, NOBODY, deliver, time_passes
from tests.wire import Caller, somebody_waits_for_a_lock, until

pytestmark = pytest.mark.django_db(transaction=True)
BOB = 2
SECRETS = ("ann@example.com", "Your parcel", "Hello", "Elm Street")
LETTER = {**HELLO, "data": {"customer": {"address": "1 Elm Street"}}}
ERASED = "PermanentFailure: the person was erased"


@pytest.fixture
def erase(api):
    def erase(user_id=ANN):
        assert api.delete(f"/api/people/{user_id}").status_code == 204

    return erase


def everything():
    """All that the tables hold, as one text."""
    rows = [*Notification.objects.values(), *OutboxMessage.objects.values(), *Event.objects.values()]
    return json.dumps(rows, default=lambda value: value.hex() if isinstance(value, bytes) else str(value))


def assert_gone():
    assert not [secret for secret in SECRETS if secret in everything()]
    assert not Notification.objects.exclude(fingerprint=None).filter(user_id=ANN).exists()


def test_sent_messages_lose_their_content_and_keep_their_state(send, users, state, erase):
    sent = send(LETTER, key="k-1", recipient="ann@example.com")
    deliver()
    before = state(sent)
    for _ in range(2):
        erase()
    assert state(sent) == {**before, "recipient": "", "subject": "", "message": ""}
    assert_gone()


def test_a_message_of_another_person_stays(send, users, state, erase):
    other = send(LETTER, userId=BOB, recipient="bob@example.com")
    erase()
    deliver()
    assert state(other)["status"] == "sent"
    assert state(other)["recipient"] == "bob@example.com"


def test_undelivered_messages_become_failed_and_are_never_sent(send, users, state, erase, mailoutbox):
    queued, logged = send(LETTER, key="k-1"), send(LETTER, channel="log")
    erase()
    for each in (queued, logged):
        assert (state(each)["status"], state(each)["lastError"]) == ("failed", ERASED)
    for _ in range(2):
        deliver()
        time_passes()
    assert mailoutbox == []
    assert set(OutboxMessage.objects.values_list("state", "last_error")) == {("dead", ERASED)}
    events = list(Event.objects.order_by("id").values_list("type", "data__status"))
    assert events == [("notification.failed", "failed")] * 2
    assert_gone()


def test_errors_that_name_the_address_are_erased(send, users, state, erase, monkeypatch):
    def refuse(notification):
        raise OSError("550 <ann@example.com>: who is that?")

    monkeypatch.setattr(channels, "HANDLERS", {**channels.HANDLERS, "email": refuse})
    waiting = send(LETTER)
    deliver()
    assert "ann@example.com" in state(waiting)["lastError"]
    erase()
    assert (state(waiting)["status"], state(waiting)["lastError"]) == ("failed", ERASED)
    assert_gone()


def test_a_mail_that_is_being_sent_during_the_erasure_leaves_no_address(send, users, state, erase, mailoutbox):
    def erasing(request):
        erase_person(ANN)
        return users.know(request)

    users.step = erasing
    sent = send(LETTER)
    deliver()
    assert len(mailoutbox) == 1
    assert (state(sent)["status"], state(sent)["recipient"]) == ("sent", "")
    assert [event.type for event in Event.objects.all()] == ["notification.sent"]
    assert_gone()


def test_a_mail_that_fails_during_the_erasure_is_not_tried_again(send, users, state, monkeypatch):
    def refuse(notification):
        erase_person(ANN)
        raise OSError("450 <ann@example.com>: later")

    monkeypatch.setattr(channels, "HANDLERS", {**channels.HANDLERS, "email": refuse})
    failing = send(LETTER)
    deliver()
    assert (state(failing)["status"], state(failing)["lastError"]) == ("queued", ERASED)
    assert_gone()
    monkeypatch.undo()
    time_passes()
    deliver()
    assert (state(failing)["status"], state(failing)["lastError"]) == ("failed", ERASED)
    assert [event.type for event in Event.objects.all()] == ["notification.failed"]
    assert_gone()


@pytest.mark.parametrize("key", [None, "k-1"])
def test_a_message_to_an_erased_person_is_stored_without_content_and_fails(send, users, state, erase, mailoutbox, key):
    erase()
    late = send(LETTER, key=key, recipient="ann@example.com")
    assert late.status_code == 201
    assert_gone()
    deliver()
    assert (state(late)["status"], state(late)["lastError"]) == ("failed", ERASED)
    assert (mailoutbox, users.asked) == ([], [])
    assert_gone()


def test_a_repetition_after_the_erasure_shows_no_content(send, erase):
    first = send(LETTER, key="k-1").json()
    erase()
    for body in (LETTER, {**HELLO, "message": "Without the data"}):
        again = send(body, key="k-1")
        assert again["Idempotent-Replayed"] == "true"
        assert again.json() == {**first, "recipient": "", "subject": "", "message": ""}
    assert Notification.objects.count() == 1


def test_an_erasure_waits_for_a_message_that_is_not_committed(send, erase):
    with transaction.atomic():
        send(LETTER)
        erasing = Caller(erase)
        until(somebody_waits_for_a_lock)
        assert not ErasedPerson.objects.exists()
    erasing.answer()
    assert_gone()
    assert Notification.objects.get().status == "failed"


def test_erased_messages_are_not_resent(admin_client, send, erase, state):
    failed = send(LETTER)
    erase()
    answer = act(admin_client, Notification, "retry", *Notification.objects.all())
    assert said(answer) == ["0 will be sent again."]
    assert state(failed)["status"] == "failed"


def test_many_messages_are_erased_in_batches(send, erase, monkeypatch):
    monkeypatch.setattr(privacy, "BATCH", 2)
    for _ in range(5):
        send(LETTER)
    erase()
    assert_gone()
    assert set(Notification.objects.values_list("status", flat=True)) == {"failed"}
    assert Event.objects.count() == 5


def test_an_erased_message_has_an_empty_preview(admin_client, send, erase):
    send({**LETTER, "type": "order_confirmed"})
    erase()
    page = admin_client.get(f"/admin/notification_svc/notification/{Notification.objects.get().pk}/html/")
    assert page.status_code == 200
    assert not [secret for secret in SECRETS if secret in page.content.decode()]


def test_events_hold_nothing_of_a_message(send, users):
    send(LETTER, recipient="ann@example.com")
    send(userId=NOBODY)
    deliver()
    kept = " ".join(str(data) for data in Event.objects.values_list("data", flat=True))
    assert Event.objects.count() == 2
    assert not [secret for secret in SECRETS if secret in kept]


def test_the_rows_of_a_person_have_all_that_a_message_holds(api, send, users):
    send(LETTER)
    send(userId=BOB)
    deliver()
    (found,) = api.get(f"/api/people/{ANN}").json()["results"]
    assert found["table"] == "notification_svc_notification"
    assert found["row"]["recipient"] == "ann@example.com"
    assert json.loads(found["row"]["data"]) == LETTER["data"]
    assert found["row"]["message"] == LETTER["message"]
