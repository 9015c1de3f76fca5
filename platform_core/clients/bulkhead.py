"""A bulkhead (Nygard, Release It!): limits how many threads of a process wait for peers, so that others stay free."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_inside: ContextVar[bool] = ContextVar("inside_bulkhead", default=False)


class BulkheadFull(Exception):
    """All places are taken, and the oldest call is older than ``max_wait``, or the caller has no time left."""


class Bulkhead:
    """Allows peer calls in at most ``places`` requests at once.

    When it is full, a further request queues while the oldest call is younger than ``max_wait`` seconds, because that
    call will probably end soon. If the oldest call is older, a peer is hanging, and the request fails at once.
    ``on_change`` is called with the number of taken places.
    """

    def __init__(
        self, places: int, *, max_wait: float = 0.25, on_change: Callable[[int], None] = lambda taken: None
    ) -> None:
        self._places = places
        self._max_wait = max_wait
        self._on_change = on_change
        self._began: dict[object, float] = {}
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
                self._on_change(len(self._began))
                self._changed.notify()

    def _enter(self, ticket: object, left: float | None) -> None:
        until = None if left is None else time.monotonic() + left
        with self._changed:
            while len(self._began) >= self._places:
                now = time.monotonic()
                wait = min(self._began.values()) + self._max_wait - now
                if until is not None:
                    wait = min(wait, until - now)
                if wait <= 0:
                    raise BulkheadFull
                self._changed.wait(wait)
            self._began[ticket] = time.monotonic()
            self._on_change(len(self._began))
