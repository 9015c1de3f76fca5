"""Mails as a real SMTP server receives them, with an operator's configuration."""

import email
import email.policy
import time

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from platform_core.conf.settings import service_settings
from platform_core.events.models import Event
from tests.notification_svc.conftest import deliver, time_passes
from tests.servers import refused_url

pytestmark = pytest.mark.django_db(transaction=True)


class MailServer:
    """Accepts mail, or answers a command with its reply in ``says``."""

    def __init__(self):
        self.mail = []
        self.says = {}
        self.waits = False
        self.signed_in = []

    async def handle_RCPT(self, server, session, envelope, address, options):
        if "RCPT" in self.says:
            return self.says["RCPT"]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if self.waits:
            time.sleep(0.5)
        if "DATA" in self.says:
            return self.says["DATA"]
        self.mail.append((envelope, email.message_from_bytes(envelope.content, policy=email.policy.default)))
        return "250 OK"

    def sign_in(self, server, session, envelope, mechanism, auth_data):
        self.signed_in.append((auth_data.login, auth_data.password))
        return AuthResult(success=True)


@pytest.fixture
def server(settings):
    handler = MailServer()
    port = int(refused_url().rsplit(":", 1)[1])
    controller = Controller(
        handler,
        hostname="127.0.0.1",
        port=port,
        authenticator=handler.sign_in,
        auth_require_tls=False,
        enable_SMTPUTF8=False,
    )
    controller.start()
    variables = {"EMAIL_URL": f"smtp://shop:secret@127.0.0.1:{port}", "DEFAULT_FROM_EMAIL": "Shop <shop@example.org>"}
    for name, value in service_settings("notification_svc", environment=variables).items():
        if name.startswith("EMAIL_") or name == "DEFAULT_FROM_EMAIL":
            setattr(settings, name, value)
    yield handler
    controller.stop()


def test_a_mail_has_all_required_headers(send, users, server):
    answer = send(subject="Grüße & Küsse", message="Zeile eins\nZeile zwei 🙂\n.\nend")
    deliver()
    ((envelope, mail),) = server.mail
    assert (envelope.mail_from, envelope.rcpt_tos) == ("shop@example.org", ["ann@example.com"])
    assert (mail["From"], mail["To"], mail["Subject"]) == (
        "Shop <shop@example.org>",
        "ann@example.com",
        "Grüße & Küsse",
    )
    assert mail["Date"] and mail["Message-ID"]
    assert mail["X-Notification-ID"] == answer.json()["id"]
    assert mail.get_content().replace("\r\n", "\n").rstrip("\n") == "Zeile eins\nZeile zwei 🙂\n.\nend"
    assert server.signed_in == [(b"shop", b"secret")]


@pytest.mark.parametrize(
    "subject", ["a\u2028b", "a\x85Bcc: x@x.org", "=?utf-8?q?=0ABcc:?=", "x" * 200, "🙂" * 200, "%s"]
)
def test_no_subject_makes_a_header_of_its_own(send, users, server, subject):
    assert send(subject=subject).status_code == 201
    deliver()
    ((envelope, mail),) = server.mail
    assert mail["Bcc"] is None
    assert envelope.rcpt_tos == ["ann@example.com"]


def test_an_address_in_another_script_is_written_as_mail_servers_want_it(send, server):
    assert send(recipient="ann@bücher.example").status_code == 201
    deliver()
    ((envelope, _),) = server.mail
    assert envelope.rcpt_tos == ["ann@xn--bcher-kva.example"]


@pytest.mark.parametrize(
    "command, reply", [("RCPT", "550 No such mailbox"), ("DATA", "554 Spam"), ("DATA", "552 Too large")]
)
def test_a_permanent_refusal_of_the_mail_server_fails_at_once(send, users, state, server, command, reply):
    server.says[command] = reply
    answer = send()
    deliver()
    after = state(answer)
    assert (after["status"], after["attempts"]) == ("failed", 1)
    assert reply.split(" ", 1)[1] in after["lastError"]
    assert Event.objects.get().type == "notification.failed"


@pytest.mark.parametrize(
    "command, reply", [("RCPT", "450 Greylisted"), ("RCPT", "421 Busy"), ("DATA", "451 Try again later")]
)
def test_a_temporary_refusal_of_the_mail_server_is_retried(send, users, state, server, command, reply):
    server.says[command] = reply
    answer = send()
    deliver()
    waiting = state(answer)
    assert (waiting["status"], waiting["attempts"]) == ("queued", 1)
    assert reply.split(" ", 1)[1] in waiting["lastError"]
    server.says.clear()
    time_passes()
    deliver()
    assert state(answer)["status"] == "sent"
    assert len(server.mail) == 1


def test_one_refused_address_does_not_hold_up_the_others(send, server):
    server.says["RCPT"] = "450 Greylisted"
    send(recipient="slow@example.com")
    deliver()
    server.says.clear()
    send(recipient="quick@example.com")
    deliver()
    assert [envelope.rcpt_tos for envelope, _ in server.mail] == [["quick@example.com"]]


def test_a_mail_accepted_late_is_not_sent_again(send, users, state, server, monkeypatch):
    """The mail server accepts the mail after the attempt's time limit. The acceptance counts."""
    monkeypatch.setattr("platform_core.outbox.delivery.ATTEMPT_SECONDS", 0.4)
    server.waits = True
    answer = send()
    deliver()
    time_passes()
    deliver()
    assert len(server.mail) == 1
    assert (state(answer)["status"], state(answer)["attempts"]) == ("sent", 1)
