"""Delivers the messages to one destination, several at once. Each message has a thread, and no other waits for it."""

import threading
import time
from queue import SimpleQueue

from django.conf import settings
from django.db import Error, connection

from platform_core.db.connections import drop_dead_connections
from platform_core.outbox.delivery import Handlers, attempt
from platform_core.outbox.leases import Lease, Leases, renewal_seconds
from platform_core.outbox.queue import BATCH, LEASE, claim
from platform_core.outbox.settling import Together

LINGER_SECONDS = 10.0
"""How long threads with nothing to do are kept, with their connections."""
POLL_SECONDS = 0.05
"""How often a lane looks for due messages while attempts run."""


class Lane:
    """Delivers the messages to ``destination``, at most ``OUTBOX_CONCURRENCY`` at once.

    `run` is one round of a duty. It claims as many messages as there are free places, and renews the leases of the
    attempts that run. While the destination is unreachable, a round tries only one message.
    """

    def __init__(self, destination: str, handlers: Handlers) -> None:
        self.destination = destination
        self._handlers = handlers
        self._leases = Leases()
        self._together = Together()
        self._tasks: SimpleQueue[Lease | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._running = 0
        self._ended = 0
        self.is_reachable = True
        self._errors: list[Exception] = []
        self._busy_at = 0.0

    def run(self, stopping: threading.Event) -> bool:
        """One round. False if there is nothing to do for now: nothing is due, or the destination is unreachable.

        Raises what an attempt could not handle, such as an error of the database.
        """
        self._leases.renew_when_due()
        self._ended = 0
        free = settings.OUTBOX_CONCURRENCY - self._running
        if not self.is_reachable:
            free = min(free, 1)
        started = 0 if free <= 0 or stopping.is_set() else self._start(free)
        if not self._running and not self._ended:  # what ended meanwhile may have had a successor, which is due now
            if time.monotonic() >= self._busy_at + LINGER_SECONDS:
                self._end_threads()
            return False
        self._wait(POLL_SECONDS if started < free or not self.is_reachable else renewal_seconds())
        if self._errors:
            raise self._errors.pop()
        return self.is_reachable

    def finish(self) -> None:
        """Wait for the attempts that run, renewing their leases, and end the threads. Claims nothing."""
        while self._running:
            try:
                self._leases.renew_when_due()
            except Error:
                connection.close()  # the leases may be lost; the attempts find out
            self._wait(POLL_SECONDS)
        self._end_threads()

    def _start(self, free: int) -> int:
        """Claim messages and hand each to a thread. Returns how many."""
        claimed_at = time.monotonic()
        messages = claim(self.destination, free)
        for message in messages:
            with self._changed:
                self._running += 1
                lacking = self._running > len(self._threads)
            if lacking:
                self._threads.append(threading.Thread(target=self._work, name=f"deliver:{self.destination}"))
                self._threads[-1].start()
            self._tasks.put(self._leases.hold(message, claimed_at))
        return len(messages)

    def _wait(self, seconds: float) -> None:
        """Wait until an attempt ends, at most ``seconds``."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended, timeout=seconds)
            self._ended = 0

    def _work(self) -> None:
        """A thread: deliver messages until there is a None."""
        try:
            while (lease := self._tasks.get()) is not None:
                self._deliver(lease)
        finally:
            for handler in self._handlers.values():
                handler.release()
            connection.close()

    def _deliver(self, lease: Lease) -> None:
        reachable, failure = None, None
        try:
            drop_dead_connections()
            reachable = attempt(lease.message, self._handlers, lease, self._together.settle_delivered)
        except Exception as error:
            failure = error
            connection.close()
        finally:
            self._leases.drop(lease)
            with self._changed:
                self._running -= 1
                self._ended += 1
                self._busy_at = time.monotonic()
                self.is_reachable = self.is_reachable if reachable is None else reachable
                if failure is not None:
                    self._errors.append(failure)
                self._changed.notify_all()

    def _end_threads(self) -> None:
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self.is_reachable = True


def deliver_one(destination: str, handlers: Handlers) -> bool:
    """Deliver one due message in this thread, for a destination with few messages. False if none is due.

    The lease is not renewed, so the attempt has to end within it, as the calls of peers do (`ATTEMPT_SECONDS`).
    """
    claimed_at = time.monotonic()
    for message in claim(destination, 1):
        attempt(message, handlers, Lease(message, claimed_at + LEASE.total_seconds()))
        return True
    return False


def deliver_due(destination: str, handlers: Handlers, stopping: threading.Event) -> bool:
    """Deliver at most `BATCH` due messages and wait for their outcomes. True if there may be more.

    For scripts and tests. A worker runs a `Lane`, which does not wait for the slowest.
    """
    lane = Lane(destination, handlers)
    try:
        rounds = 0
        while rounds < BATCH and lane.run(stopping):
            rounds += 1
        return rounds > 0 and lane.is_reachable
    finally:
        lane.finish()
