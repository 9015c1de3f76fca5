"""A bulkhead (Nygard, Release It!): limits how many threads of a process wait for peers, so that others stay free."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_inside: ContextVar[bool] = ContextVar("inside_bulkhead", default=False)


class BulkheadFull(Exception):
    """All places are taken, and no call has ended for ``max_wait``, or the caller has no time left."""


class Bulkhead:
    """Allows peer calls in at most ``places`` requests at once.

    When it is full, a further request queues as long as calls end, because its turn will come. If no call has ended for
    ``max_wait`` seconds, and the oldest is older than that, a peer is hanging, and the request fails at once. A second
    is longer than the pauses of a busy machine (a slow fsync, a stopped process); a shorter limit would refuse requests
    that could be served. ``on_change`` is called with the number of taken places.
    """

    def __init__(
        self, places: int, *, max_wait: float = 1.0, on_change: Callable[[int], None] = lambda taken: None
    ) -> None:
        self._places = places
        self._max_wait = max_wait
        self._on_change = on_change
        self._began: dict[object, float] = {}
        self._ended_at = -math.inf
        self._changed = threading.Condition()

    @contextmanager
    def place(self, left: float | None = None) -> Iterator[None]:
        """Hold a place during a call. Waits at most ``left`` seconds; nested calls share one place.

        Raises BulkheadFull.
        """
        if _inside.get():
            yield
            return
        ticket = object()
        self._enter(ticket, left)
        token = _inside.set(True)
        try:
            yield
        finally:
            _inside.reset(token)
            with self._changed:
                del self._began[ticket]
                self._ended_at = time.monotonic()
                self._on_change(len(self._began))
                self._changed.notify()

    def _enter(self, ticket: object, left: float | None) -> None:
        until = None if left is None else time.monotonic() + left
        with self._changed:
            while len(self._began) >= self._places:
                now = time.monotonic()
                wait = max(min(self._began.values()), self._ended_at) + self._max_wait - now
                if until is not None:
                    wait = min(wait, until - now)
                if wait <= 0:
                    raise BulkheadFull
                self._changed.wait(wait)
            self._began[ticket] = time.monotonic()
            self._on_change(len(self._began))
