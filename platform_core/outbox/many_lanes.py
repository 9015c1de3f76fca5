"""Delivers the messages to destinations that come and go, without a database connection for each delivery."""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import NamedTuple

from django.db import Error, connection

from platform_core.db.isolation import is_outage
from platform_core.outbox.delivery import UNKNOWN_KIND, Handlers, begin, conclude, perform
from platform_core.outbox.leases import Lease, Leases
from platform_core.outbox.models import OutboxMessage
from platform_core.outbox.queue import Handler, claim

PLACES = 3
"""How many messages are delivered to one destination at once."""
LOOK_SECONDS = 0.25
"""How often due messages are looked for. A destination with an ended delivery is looked at again at once."""
WAIT_SECONDS = 0.05


@dataclass(slots=True)
class _State:
    """``look_at``: when its due messages are looked for next (``time.monotonic()``)."""

    running: int = 0
    is_reachable: bool = True
    look_at: float = 0.0

    @property
    def free(self) -> int:
        return (PLACES if self.is_reachable else 1) - self.running


class _Ended(NamedTuple):
    """A delivery that has ended, and its failure."""

    lease: Lease
    failure: Exception | None


class ManyLanes:
    """Delivers the messages to ``destinations()``, each at most `PLACES` at once, so that none waits for another.

    `run` is one round of a duty. Its thread claims, prepares and settles all messages, with one database connection.
    ``prepare(message)`` reads what ``deliver`` needs; an error of it counts as one of the delivery. The handlers'
    ``deliver`` runs in a thread without the database. It must have a bound, and ``most`` bounds the destinations.
    """

    def __init__(
        self,
        destinations: Callable[[], Iterable[str]],
        handlers: Handlers,
        prepare: Callable[[OutboxMessage], None],
        most: int,
    ) -> None:
        self._destinations = destinations
        self._handlers = handlers
        self._prepare = prepare
        self._most = most
        self._leases = Leases()
        self._ended: SimpleQueue[_Ended] = SimpleQueue()
        self._unstored: _Ended | None = None
        self._states: dict[str, _State] = {}
        self._known: list[str] = []
        self._known_until = 0.0
        self._running = 0
        self._threads: ThreadPoolExecutor | None = None

    def run(self, stopping: threading.Event) -> bool:
        """One round. False if nothing runs. Raises errors of the database."""
        self._leases.renew_when_due()
        self._settle_ended(wait=WAIT_SECONDS if self._running else 0.0)
        if not stopping.is_set():
            self._start_due()
        return self._running > 0

    def finish(self) -> None:
        """Wait for the deliveries that run and store their outcomes. Claims nothing."""
        while self._running:
            try:
                self._leases.renew_when_due()
                self._settle_ended(wait=WAIT_SECONDS)
            except Error:
                connection.close()
                if self._unstored is not None:  # delivered again when its lease has ended
                    self._forget(self._unstored.lease)
                    self._unstored = None
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None

    def _start_due(self) -> None:
        now = time.monotonic()
        if now >= self._known_until:
            self._known = sorted(self._destinations())[: self._most]
            self._known_until = now + LOOK_SECONDS
            self._states = {n: s for n, s in self._states.items() if s.running or n in self._known}
        for destination in self._known:
            state = self._states.setdefault(destination, _State())
            if state.free > 0 and now >= state.look_at:
                self._claim(destination, state)

    def _claim(self, destination: str, state: _State) -> None:
        claimed_at, free = time.monotonic(), state.free
        messages = claim(destination, free)
        if len(messages) < free or not state.is_reachable:
            state.look_at = claimed_at + LOOK_SECONDS
        for message in messages:
            self._begin(message, self._leases.hold(message, claimed_at), state)

    def _begin(self, message: OutboxMessage, lease: Lease, state: _State) -> None:
        handler = self._handlers.get(message.kind, UNKNOWN_KIND)
        failure: Exception | None = None
        state.running += 1
        self._running += 1
        try:
            failure = begin(message, handler)
            if failure is None:
                self._prepare(message)
        except Error:
            self._forget(lease)
            raise
        except Exception as error:
            failure = error
        if failure is not None:
            self._ended.put(_Ended(lease, failure))
            return
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._most * PLACES, thread_name_prefix="deliver")
        self._threads.submit(self._deliver, lease, handler)

    def _deliver(self, lease: Lease, handler: Handler) -> None:
        self._ended.put(_Ended(lease, perform(lease.message, handler, lease)))

    def _settle_ended(self, wait: float) -> None:
        """Store the outcomes of the deliveries that have ended; ``wait`` at most so many seconds for the first."""
        while True:
            try:
                ended = self._unstored or self._ended.get(block=wait > 0, timeout=wait or None)
            except Empty:
                return
            wait, self._unstored = 0.0, None
            self._settle(ended)

    def _settle(self, ended: _Ended) -> None:
        message = ended.lease.message
        try:
            reachable = conclude(message, self._handlers.get(message.kind, UNKNOWN_KIND), ended.failure)
        except Exception as error:
            if is_outage(error):
                self._unstored = ended  # its lease is renewed until the database answers again
            else:
                self._forget(ended.lease)
            raise
        state = self._forget(ended.lease)
        state.is_reachable = reachable
        state.look_at = 0.0 if reachable else state.look_at

    def _forget(self, lease: Lease) -> _State:
        self._leases.drop(lease)
        state = self._states[lease.message.destination]
        state.running -= 1
        self._running -= 1
        return state
