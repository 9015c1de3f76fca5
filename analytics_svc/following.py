"""The worker's part: it follows the feeds all the time, so that a request finds little that is new.

Threads read the feeds in parallel and never use the database; the duty's own thread applies the events, with one
connection. Any number of workers and requests may do so side by side: the lock on a position, and the comparison with
the position before the page, let each page be applied once. While a page is applied, the next one is read. That read
acknowledges nothing, because the position before it is not committed yet.
"""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import timedelta

from django.db import DatabaseError

from analytics_svc.catching_up import (
    SOURCES,
    Read,
    apply,
    is_being_rebuilt,
    live_positions,
    log,
    note,
    start_read,
    tell,
)
from analytics_svc.models import FeedPosition
from analytics_svc.projection import Occupied, Superseded
from platform_core.clients import PeerError
from platform_core.http import DeadlineExceeded, context

POLL_SECONDS = 1.0
"""The pause after a page with new events."""
MOST_SECONDS = 4.0
"""What the pause doubles to while a feed has nothing new."""
FAILED_SECONDS = 5.0
"""The pause after a feed could not be read or its page could not be applied."""
LOGGED_FAILURE = 2
WAIT_SECONDS = 0.5
"""The longest that a round waits for a read, so that the worker can stop."""
NOTED_EVERY = timedelta(seconds=5)


class Follower:
    """Follows the feeds of ``sources``. A feed that does not answer, or whose page fails, holds up no other."""

    def __init__(self, sources: Sequence[str] = SOURCES) -> None:
        self._due_at = dict.fromkeys(sources, 0.0)
        self._pauses = dict.fromkeys(sources, POLL_SECONDS)
        self._reads: dict[str, Future[Read]] = {}
        self._failures: dict[str, int] = {}
        self._threads: ThreadPoolExecutor | None = None

    def run(self, stopping: threading.Event) -> bool:
        """Start the reads that are due, and apply the pages of those that have ended. True while reads are running."""
        due = [name for name, at in self._due_at.items() if name not in self._reads and time.monotonic() >= at]
        if due and not stopping.is_set():
            self._start(due)
        wait(self._reads.values(), WAIT_SECONDS, FIRST_COMPLETED)
        for name, read in list(self._reads.items()):
            if read.done():
                del self._reads[name]
                self._digest(name, read, stopping)
        return bool(self._reads)

    def finish(self) -> None:
        """Wait for the reads that run, each of which has a bound. The next worker reads these pages again."""
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None
        self._reads.clear()

    def _start(self, names: Sequence[str]) -> None:
        positions = live_positions()
        if is_being_rebuilt(positions):
            self._due_at.update(dict.fromkeys(names, time.monotonic() + POLL_SECONDS))
            return
        for name in names:
            self._begin(name, positions[name])

    def _begin(self, name: str, after: FeedPosition, *, acknowledging: bool = True) -> None:
        self._threads = self._threads or ThreadPoolExecutor(len(self._due_at), thread_name_prefix="feeds")
        with context.entered(context.Context(is_poll=True)):
            self._reads[name] = start_read(self._threads, after, acknowledging=acknowledging)

    def _digest(self, name: str, future: Future[Read], stopping: threading.Event) -> None:
        """Applies a page, and decides when the feed is read next."""
        self._due_at[name] = time.monotonic() + FAILED_SECONDS
        try:
            read = future.result()
            if read.is_full and not stopping.is_set():
                self._begin(name, read.expected(), acknowledging=False)
            position = apply(read) if read.page.events else read.after
        except (PeerError, DeadlineExceeded, Superseded, Occupied) as error:
            self._reads.pop(name, None)
            self._fail(name, error)
            return
        except DatabaseError:
            self._reads.pop(name, None)
            raise
        self._succeed(name)
        if read.page.events and position.last_event_id != read.page.events[-1].id:
            self._reads.pop(name, None)  # somebody else was faster: what was read ahead may be applied already
            self._due_at[name] = 0.0
        elif name not in self._reads:
            self._rest(name, read, position)

    def _rest(self, name: str, read: Read, position: FeedPosition) -> None:
        if read.reached_the_end:
            note({name: position}, {name: read.began}, NOTED_EVERY)
        self._pauses[name] = POLL_SECONDS if read.page.events else min(MOST_SECONDS, self._pauses[name] * 2)
        self._due_at[name] = time.monotonic() + self._pauses[name]

    def _fail(self, name: str, error: Exception) -> None:
        """Logs each outage once, at its second failure: a service that is just starting is no outage."""
        self._failures[name] = self._failures.get(name, 0) + 1
        if self._failures[name] == LOGGED_FAILURE:
            tell(name, error)

    def _succeed(self, name: str) -> None:
        if self._failures.pop(name, 0) >= LOGGED_FAILURE:
            log.info("feed.back", extra={"data": {"peer": name}})
