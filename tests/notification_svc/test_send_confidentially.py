"""POST /api/notifications/send with ``confidential``."""

import logging

import pytest
from django.db import connection
from django.urls import reverse

from notification_svc.models import Notification
from platform_core.outbox.models import OutboxMessage
from tests.notification_svc.conftest import deliver, time_passes
from tests.wire import assert_problem

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = "https://shop.example.com/reset-password#token=planted-token-7Qx"
TO_ANN = {"userId": 1, "message": f"Follow {SECRET} now.", "confidential": True, "recipient": "ann@example.com"}


def stored() -> str:
    """All rows of all tables as text."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
        texts = []
        for (table,) in cursor.fetchall():
            cursor.execute(f'SELECT t::text FROM "{table}" t')
            texts += [row for (row,) in cursor.fetchall()]
    return "\n".join(texts)


def test_the_text_is_mailed_and_readable_nowhere_else(send, api, mailoutbox, admin_client, caplog):
    caplog.set_level(logging.DEBUG)
    answer = send(TO_ANN, "k")
    assert answer.status_code == 201
    assert answer.json()["message"] == "The text of this message is confidential."
    assert "planted" not in stored()
    deliver()
    (mail,) = mailoutbox
    assert SECRET in mail.body
    page = admin_client.get(reverse("admin:notification_svc_notification_change", args=[answer.json()["id"]]))
    assert page.status_code == 200
    listed = api.get("/api/notifications/1").content.decode()
    for text in (stored(), listed, page.content.decode(), caplog.text, answer.content.decode()):
        assert "planted" not in text


def test_what_is_kept_until_the_delivery_is_erased_with_it(send, mailoutbox):
    send(TO_ANN)
    assert Notification.objects.get().sealed
    deliver()
    assert Notification.objects.get().sealed == ""


def test_a_repetition_gets_the_first_answer_and_another_text_is_refused(send, mailoutbox):
    first = send(TO_ANN, "k")
    deliver()
    again = send(TO_ANN, "k")
    assert (again.status_code, again.json()) == (201, first.json())
    assert_problem(send({**TO_ANN, "message": "other"}, "k"), 422, "idempotency_key_reused")
    deliver()
    assert len(mailoutbox) == 1


def test_a_text_that_could_not_be_delivered_is_erased_and_not_sent_later(send, monkeypatch, mailoutbox, admin_client):
    from django.core.mail.backends import locmem

    def refuse(backend, messages):
        from smtplib import SMTPDataError

        raise SMTPDataError(554, b"blocked: " + SECRET.encode())

    with monkeypatch.context() as patch:
        patch.setattr(locmem.EmailBackend, "send_messages", refuse)
        answer = send(TO_ANN)
        deliver()
    failed = Notification.objects.get()
    assert (failed.status, failed.sealed) == ("failed", "")
    assert "554" in failed.last_error
    assert "planted" not in stored(), "the mail server's reply quotes the text"
    url = reverse("admin:notification_svc_notification_changelist")
    admin_client.post(url, {"action": "retry", "_selected_action": [answer.json()["id"]]})
    assert Notification.objects.get().status == "failed"
    OutboxMessage.objects.update(state="pending", attempts=0)
    time_passes()
    deliver()
    assert mailoutbox == []
    assert "has been erased" in OutboxMessage.objects.get().last_error


def test_a_text_that_waits_for_the_mail_server_is_sent_later(send, monkeypatch, mailoutbox):
    from django.core.mail.backends import locmem

    with monkeypatch.context() as patch:
        patch.setattr(locmem.EmailBackend, "open", lambda backend: (_ for _ in ()).throw(OSError("down")))
        send(TO_ANN)
        deliver()
    assert Notification.objects.get().sealed
    time_passes()
    deliver()
    assert SECRET in mailoutbox[0].body


def test_an_ordinary_message_keeps_its_text(send, users, mailoutbox):
    send({"userId": 1, "message": "Hello", "confidential": False})
    deliver()
    kept = Notification.objects.get()
    assert (kept.message, kept.sealed) == ("Hello", None)


def test_user_service_may_send(api, production, settings):
    from platform_core.topology import USER
    from tests import people

    answer = api.post("/api/notifications/send", TO_ANN, headers=people.as_service(USER, settings.SERVICE))
    assert answer.status_code == 201
