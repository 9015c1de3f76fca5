"""Nothing starts if a channel has no handler."""

import logging

import pytest
from django.core.management import CommandError, call_command

from notification_svc import channels, tasks
from notification_svc.models import Notification
from platform_core.conf.checks import START, exit_on_errors
from platform_core.conf.environment import EXIT_CODE
from platform_core.outbox.models import OutboxMessage
from platform_core.vocabulary import Channel
from tests.notification_svc.conftest import deliver


@pytest.fixture
def nobody_logs(monkeypatch):
    """The channel `log` has no handler."""
    handlers = {name: handler for name, handler in channels.HANDLERS.items() if name != Channel.LOG}
    monkeypatch.setattr(channels, "HANDLERS", handlers)


def test_there_is_a_lane_for_every_channel():
    assert [lane.name for lane in tasks.LANES] == [f"deliver:{channel}" for channel in Channel.values]
    assert set(tasks.LANES) <= set(tasks.DUTIES)


def test_the_check_finds_nothing_now(capsys):
    call_command("check", tags=[START])
    exit_on_errors()
    assert "no issues" in capsys.readouterr().out


def test_a_channel_without_a_handler_fails_the_check(nobody_logs):
    with pytest.raises(CommandError, match=r"notification_svc\.E001.*'log' has no handler"):
        call_command("check", tags=[START])


def test_the_web_does_not_start_without_a_handler(nobody_logs, capsys):
    with pytest.raises(SystemExit) as ended:
        exit_on_errors()
    assert ended.value.code == EXIT_CODE
    assert "notification_svc.E001" in capsys.readouterr().err


def test_the_worker_does_not_start_without_a_handler(nobody_logs, settings, monkeypatch):
    monkeypatch.setattr("platform_core.management.commands.worker.work", lambda *_: pytest.fail("it has started"))
    with pytest.raises(CommandError, match=r"notification_svc\.E001"):
        call_command("worker", skip_checks=False)


@pytest.mark.django_db(transaction=True)
def test_a_message_for_a_channel_without_a_handler_is_a_failed_attempt(send, state, caplog):
    """It may come from a newer version. It must not be logged and counted as sent."""
    answer = send(channel="log")
    Notification.objects.update(channel="pigeon")
    with caplog.at_level(logging.INFO, "notification.delivery"):
        deliver()
    after = state(answer)
    assert (after["status"], after["attempts"]) == ("queued", 1)
    assert "no handler for the channel pigeon" in after["lastError"]
    assert not [record for record in caplog.records if record.name == "notification.delivery"]
    assert OutboxMessage.objects.get().state == "pending"


@pytest.mark.django_db(transaction=True)
def test_a_lane_takes_no_message_of_a_channel_that_has_none(send):
    send(channel="log")
    OutboxMessage.objects.update(destination="pigeon")
    deliver()
    assert OutboxMessage.objects.get().attempts == 0
