"""Mail servers that are slow, that defer, that close connections, and that refuse our account."""

import threading
import time
from datetime import timedelta

import pytest

from notification_svc import tasks
from notification_svc.models import Notification
from platform_core.conf.settings import service_settings
from platform_core.outbox import queue
from platform_core.outbox.models import OutboxMessage
from platform_core.outbox.smtp import close_mail_connection
from platform_core.worker.duties import Duty, work
from tests.mail_servers import serving_mail
from tests.notification_svc.conftest import deliver, time_passes
from tests.wire import until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def server(settings):
    with serving_mail() as server:
        variables = {"EMAIL_URL": f"smtp://127.0.0.1:{server.port}"}
        for name, value in service_settings("notification_svc", environment=variables).items():
            if name.startswith("EMAIL_"):
                setattr(settings, name, value)
        yield server


@pytest.fixture
def short_lease(monkeypatch):
    monkeypatch.setattr(queue, "LEASE", timedelta(seconds=1))


@pytest.fixture
def workers():
    """Two workers, each with a lane for mails."""
    stopping, threads = threading.Event(), []

    def start():
        for _ in range(2):
            lane = tasks.Lane("email", tasks.HANDLERS)
            duty = Duty("deliver", lane.run, pause=0.02, finish=lane.finish)
            threads.append(threading.Thread(target=work, args=([duty], stopping)))
            threads[-1].start()

    yield start
    stopping.set()
    for thread in threads:
        thread.join()


def to(send, *names):
    for name in names:
        assert send(recipient=f"{name}@example.com").status_code == 201


def outcome():
    return list(Notification.objects.order_by("id").values_list("status", "attempts"))


@pytest.mark.parametrize("delays", [{"*": 0.6}, {".": 2.5}], ids=["every reply", "the reply to the mail"])
def test_a_slow_server_gets_each_mail_once(send, server, workers, short_lease, delays):
    """Replies that together, or alone, take longer than a lease."""
    server.delays = delays
    to(send, "ann")
    workers()
    until(lambda: outcome() == [("sent", 1)])
    assert server.recipients == ["ann@example.com"]


def test_a_server_that_never_answers_is_given_up_after_the_time_of_its_command(send, server, settings, state):
    settings.EMAIL_TIMEOUT = 1
    server.delays = {"RCPT": 60.0}
    to(send, "ann")
    deliver()
    ((status, attempts),) = outcome()
    assert (status, attempts) == ("queued", 1)
    assert "in time (RCPT)" in Notification.objects.get().last_error


def test_an_attempt_ends_as_a_whole_even_if_each_reply_is_in_time(send, server, settings):
    settings.EMAIL_ATTEMPT_SECONDS = 1
    server.delays = {"*": 0.4}
    to(send, "ann")
    began = time.monotonic()
    deliver()
    assert time.monotonic() - began < 20
    assert outcome() == [("queued", 1)]
    assert server.mails == []


def test_after_the_mail_itself_the_server_has_more_time_than_for_other_replies(send, server, settings):
    settings.EMAIL_TIMEOUT = 1
    server.delays = {".": 1.5}
    to(send, "ann")
    deliver()
    assert outcome() == [("sent", 1)]


def test_the_wait_after_the_mail_itself_has_a_limit_of_its_own(send, server, settings):
    settings.EMAIL_ACCEPT_SECONDS = 1
    server.delays = {".": 15.0}
    to(send, "ann")
    deliver()
    assert outcome() == [("queued", 1)]
    assert server.mails == []


def test_a_reply_that_trickles_in_ends_in_time(send, server, settings):
    settings.EMAIL_TIMEOUT = 1
    stop = threading.Event()

    def trickles(line):
        for sock in list(server._open):
            while not stop.wait(0.2):
                sock.sendall(b"2")

    server.replies["MAIL"] = trickles
    to(send, "ann")
    deliver()
    stop.set()
    assert outcome() == [("queued", 1)]


def test_one_connection_serves_many_mails(send, server, settings):
    settings.OUTBOX_CONCURRENCY = 1
    to(send, *(f"m{n}" for n in range(8)))
    deliver()
    assert len(server.mails) == 8
    assert server.connections == 1
    assert server.commands.count("RSET") == 7
    assert server.commands[-1] == "QUIT"


def test_as_many_connections_as_deliveries_at_once(send, server, settings):
    settings.OUTBOX_CONCURRENCY = 3
    server.delays = {".": 0.05}
    to(send, *(f"m{n}" for n in range(12)))
    deliver()
    assert sorted(server.recipients) == sorted(f"m{n}@example.com" for n in range(12))
    assert server.connections <= 3


@pytest.mark.parametrize("closing", ["after each mail", "with 421 at RSET", "before RSET"])
def test_a_connection_that_the_server_has_closed_is_replaced(send, server, settings, closing):
    settings.OUTBOX_CONCURRENCY = 1
    match closing:
        case "after each mail":
            server.closes_after = 1
        case "with 421 at RSET":
            server.replies["RSET"] = "421 Too many mails"
        case "before RSET":
            server.drops_at = "RSET"
    to(send, *(f"m{n}" for n in range(4)))
    deliver()
    assert server.recipients == [f"m{n}@example.com" for n in range(4)]
    assert outcome() == [("sent", 1)] * 4
    assert server.connections == 4


def test_a_connection_that_breaks_after_the_mail_was_sent_is_not_used_to_send_it_again(send, server):
    server.drops_at = "."
    to(send, "ann")
    deliver()
    assert server.commands.count("DATA") == 1
    assert outcome() == [("queued", 1)]


def test_good_mails_do_not_wait_for_300_deferred_addresses(send, server, settings):
    told = []

    def defers(line):
        told.append(line)
        return "451 Try again later" if "<slow" in line else None

    server.replies["RCPT"] = defers
    to(send, *(f"slow{n}" for n in range(300)), *(f"good{n}" for n in range(5)))
    stopping = threading.Event()
    while len(server.mails) < 5:
        tasks.LANES[0].run(stopping)
    tasks.LANES[0].finish()
    last_good = max(n for n, line in enumerate(told) if "<good" in line)
    assert last_good < 305 + settings.OUTBOX_CONCURRENCY
    assert server.connections <= settings.OUTBOX_CONCURRENCY + 1


def test_421_says_that_the_server_takes_no_mails(send, server, settings):
    settings.OUTBOX_CONCURRENCY = 1
    server.replies["RCPT"] = "421 Shutting down"
    to(send, *(f"m{n}" for n in range(3)))
    tasks.LANES[0].run(threading.Event())
    tasks.LANES[0].finish()
    assert sorted(outcome()) == [("queued", 0), ("queued", 0), ("queued", 1)]


@pytest.mark.parametrize(
    "command, reply",
    [("greeting", "554 No service"), ("EHLO", "550 Who are you?"), ("greeting", "421 Busy")],
)
def test_a_server_that_refuses_the_connection_is_tried_with_one_mail(send, server, settings, command, reply):
    settings.OUTBOX_CONCURRENCY = 1
    server.replies |= {command: reply, "HELO": reply}
    to(send, *(f"m{n}" for n in range(3)))
    tasks.LANES[0].run(threading.Event())
    tasks.LANES[0].finish()
    assert sorted(outcome()) == [("queued", 0), ("queued", 0), ("queued", 1)]
    assert "cannot be reached" in Notification.objects.get(attempts=1).last_error


@pytest.mark.parametrize(
    "command, reply", [("MAIL", "530 Authentication required"), ("MAIL", "550 Unknown sender"), ("RCPT", "530 No")]
)
def test_a_refusal_of_our_account_or_sender_is_a_fault_of_configuration(api, send, server, command, reply):
    server.replies[command] = reply
    to(send, "ann")
    OutboxMessage.objects.update(attempts=500)
    deliver()
    assert outcome() == [("queued", 501)]
    assert OutboxMessage.objects.get().last_error.startswith("CallerRefused: the mail server: refuses")
    check = api.get("/health").json()["checks"]["outbox"]
    assert check["status"] == "degraded"
    assert "the mail server: refuses notification-service's credentials" in check["detail"]
    server.replies.clear()
    time_passes()
    deliver()
    assert outcome() == [("sent", 502)]
    assert api.get("/health").json()["checks"]["outbox"]["status"] == "ok"


def test_a_mail_that_is_too_large_for_the_server_fails_alone(send, server):
    server.replies["MAIL"] = "552 Too large"
    to(send, "ann")
    deliver()
    assert outcome() == [("failed", 1)]


def test_nothing_is_kept_when_nothing_was_sent():
    close_mail_connection()
