"""The worker sends queued messages or marks them as failed."""

import logging

import pytest
import requests
from django.core import mail

from notification_svc.models import Notification
from platform_core.events.models import Event
from platform_core.outbox.models import OutboxMessage
from tests import servers
from tests.notification_svc.conftest import NOBODY, deliver, time_passes
from tests.wire import at_once

pytestmark = pytest.mark.django_db(transaction=True)


def event_types():
    return list(Event.objects.order_by("id").values_list("type", flat=True))


def test_a_message_goes_to_the_users_address(send, users, state, mailoutbox):
    answer = send()
    deliver()
    (message,) = mailoutbox
    assert (message.to, message.subject, message.body) == (["ann@example.com"], "Hello", "Your parcel waits.")
    assert message.from_email == "shop@example.com"
    after = state(answer)
    assert (after["status"], after["attempts"], after["lastError"], after["recipient"]) == (
        "sent",
        1,
        None,
        "ann@example.com",
    )
    assert after["sentAt"] >= after["createdAt"]
    assert event_types() == ["notification.sent"]


def test_a_message_with_a_recipient_goes_there_and_user_service_is_not_asked(send, users, mailoutbox):
    send(recipient="other@example.com", userId=NOBODY)
    deliver()
    assert [message.to for message in mailoutbox] == [["other@example.com"]]
    assert not users.asked


@pytest.mark.parametrize("type_, subject", [("order_confirmed", "Order confirmed"), ("message", "Message")])
def test_a_message_without_a_subject_has_one_of_its_type(send, users, mailoutbox, type_, subject):
    send(subject="", type=type_)
    deliver()
    assert mailoutbox[0].subject == subject


def test_a_message_is_sent_once_in_many_rounds(send, users, mailoutbox):
    send()
    for _ in range(3):
        deliver()
        time_passes()
    assert len(mailoutbox) == 1
    assert event_types() == ["notification.sent"]


def test_a_message_for_the_log_is_logged_without_its_text(send, state, mailoutbox, caplog):
    answer = send(channel="log", type="order_shipped")
    with caplog.at_level(logging.INFO, "notification.delivery"):
        deliver()
    (record,) = [record for record in caplog.records if record.getMessage() == "notification.logged"]
    assert (record.data["userId"], record.data["type"], record.data["subject"]) == ("1", "order_shipped", "Hello")
    assert "Your parcel waits." not in str(record.data)
    assert state(answer)["status"] == "sent"
    assert mailoutbox == []


def test_a_message_to_an_unknown_user_fails_at_once(send, users, state, mailoutbox):
    answer = send(userId=NOBODY)
    deliver()
    after = state(answer)
    assert (after["status"], after["attempts"], after["sentAt"]) == ("failed", 1, None)
    assert f"There is no user {NOBODY}." in after["lastError"]
    assert event_types() == ["notification.failed"]
    time_passes()
    deliver()
    assert len(users.asked) == 1
    assert mailoutbox == []


HTML = {"Content-Type": "text/html"}


def refuses(request):
    raise requests.exceptions.ConnectionError("refused")


def is_silent(request):
    raise requests.exceptions.ReadTimeout("Read timed out.")


DOWN = {
    "nobody listens": refuses,
    "no answer in time": is_silent,
    "503": lambda request: (503, {}, "{}"),
    "404 in HTML": lambda request: (404, HTML, "<html>"),
    "garbage": lambda request: (200, {}, "garbage"),
    "429": lambda request: (429, {}, "{}"),
}


@pytest.mark.parametrize("failure", DOWN.values(), ids=DOWN)
def test_a_message_is_sent_when_user_service_is_back(send, users, state, mailoutbox, failure):
    users.step = failure
    answer = send()
    deliver()
    waiting = state(answer)
    assert (waiting["status"], waiting["attempts"]) == ("queued", 1)
    assert waiting["lastError"]
    assert event_types() == []
    users.step = users.know
    time_passes()
    deliver()
    after = state(answer)
    assert (after["status"], after["attempts"], after["lastError"]) == ("sent", 2, None)
    assert len(mailoutbox) == 1


def test_messages_with_a_recipient_do_not_wait_for_user_service(send, users, mailoutbox):
    users.step = refuses
    send()
    send(recipient="other@example.com")
    for _ in range(2):
        deliver()
    assert [message.to for message in mailoutbox] == [["other@example.com"]]


def test_messages_for_the_log_do_not_wait_for_the_mail(send, users, state):
    users.step = refuses
    for _ in range(12):
        send()
    answer = send(channel="log")
    deliver()
    assert state(answer)["status"] == "sent"


@pytest.fixture
def mail_server_is_down(settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", int(servers.refused_url().rsplit(":", 1)[1])
    return settings


def mail_server_is_back(settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"


def test_a_message_is_sent_when_the_mail_server_is_back(send, users, state, mail_server_is_down, mailoutbox):
    answer = send()
    for attempt in (1, 2, 3):
        deliver()
        waiting = state(answer)
        assert (waiting["status"], waiting["attempts"]) == ("queued", attempt)
        assert "refused" in waiting["lastError"]
        time_passes()
    mail_server_is_back(mail_server_is_down)
    deliver()
    after = state(answer)
    assert (after["status"], after["attempts"], after["lastError"]) == ("sent", 4, None)
    assert len(mailoutbox) == 1
    assert event_types() == ["notification.sent"]


def test_a_dead_mail_server_is_tried_by_one_message_at_a_time(send, users, mail_server_is_down, settings):
    settings.OUTBOX_CONCURRENCY = 1
    for _ in range(5):
        send()
    deliver()
    assert sorted(OutboxMessage.objects.values_list("attempts", flat=True)) == [0, 0, 0, 0, 1]


def test_after_its_last_attempt_a_message_has_failed(send, users, state, mail_server_is_down):
    answer = send()
    OutboxMessage.objects.update(attempts=59)
    deliver()
    after = state(answer)
    assert (after["status"], after["attempts"]) == ("failed", 60)
    assert "refused" in after["lastError"]
    assert event_types() == ["notification.failed"]
    time_passes()
    deliver()
    assert event_types() == ["notification.failed"]


def test_an_error_of_any_length_is_kept_short(send, users, state):
    users.step = lambda request: (500, {}, '{"detail": "' + "x" * 10_000 + '"}')
    answer = send()
    deliver()
    assert 0 < len(state(answer)["lastError"]) <= 2000


def test_the_failure_and_its_event_are_one(send, users, state):
    """A failure in the feed is also visible in the list."""
    answer = send(userId=NOBODY)
    deliver()
    event = Event.objects.get()
    assert event.subject == answer.json()["id"]
    assert event.data["status"] == state(answer)["status"] == "failed"


def test_an_event_names_no_address_and_no_text(send, users):
    send(type="order_confirmed")
    deliver()
    event = Event.objects.get()
    assert set(event.data) == {"version", "userId", "type", "channel", "status", "createdAt"}
    assert (event.data["userId"], event.data["type"], event.data["channel"]) == ("1", "order_confirmed", "email")


def test_the_senders_request_id_goes_on_to_user_service_and_into_the_event(api, users):
    api.post("/api/notifications/send", {"userId": 1, "message": "Hi"}, headers={"X-Request-ID": "abc-1"})
    deliver()
    assert users.asked[0].headers["X-Request-ID"] == "abc-1"
    assert Event.objects.get().request_id == "abc-1"


def test_two_workers_send_each_message_once(send, users, mailoutbox):
    for n in range(25):
        send(subject=f"No. {n}")
    at_once([deliver] * 3)
    deliver()
    assert sorted(message.subject for message in mail.outbox) == sorted(f"No. {n}" for n in range(25))
    assert Notification.objects.filter(status="sent", attempts=1).count() == 25
    assert event_types() == ["notification.sent"] * 25


def test_the_feed_has_sent_and_failed_messages(api, send, users):
    sent, failed = send(), send(userId=NOBODY)
    deliver()
    send()
    events = [(event["type"], event["subject"], event["source"]) for event in api.get("/api/events").json()]
    assert sorted(events) == [  # they are delivered side by side
        ("notification.failed", failed.json()["id"], "notification-service"),
        ("notification.sent", sent.json()["id"], "notification-service"),
    ]
