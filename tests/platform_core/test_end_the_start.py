"""Ctrl-C ends `manage.py up` at any moment, even when Python drops the exception of a signal handler."""

import signal
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from platform_core.stack import supervisor
from platform_core.stack.supervisor import SAME_SIGNAL_SECONDS, Stack

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Finalized:
    """Its finalizer gets the signal."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def __del__(self) -> None:
        self.stack.on_signal(signal.SIGINT, None)


@pytest.fixture
def stack(tmp_path) -> Iterator[Stack]:
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield Stack(values={"PLATFORM_DATA": str(tmp_path)}, environ={})
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_was_dropped_ends_the_start_at_the_next_step(stack):
    stack.step("Postgres")
    Finalized(stack)  # gone at once, and with it what the handler raised
    with pytest.raises(supervisor._Ended):
        stack.step("services")
    with pytest.raises(supervisor._Ended):
        stack.watch()


def test_a_second_signal_ends_what_the_first_has_not_ended(stack):
    with suppress(supervisor._Ended):
        stack.on_signal(signal.SIGINT, None)
    stack.on_later_signal(signal.SIGINT, None)
    stack.ending = time.monotonic() - SAME_SIGNAL_SECONDS - 1
    with pytest.raises(supervisor._Ended):
        stack.on_later_signal(signal.SIGINT, None)
    stack.stop()
    stack.on_later_signal(signal.SIGINT, None)
