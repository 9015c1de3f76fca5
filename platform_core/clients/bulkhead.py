"""A bulkhead: requests that wait for peers never fill all threads of a process, so its other work goes on."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_inside: ContextVar[bool] = ContextVar("inside_bulkhead", default=False)


class BulkheadFull(Exception):
    """All places are taken by requests that have been waiting for long."""


class Bulkhead:
    """At most ``places`` requests are in peer calls. One more waits while the oldest of them is young, ``patience``
    seconds at most, for it will soon be done; when the oldest is older than that, a peer hangs, and waiting is in vain.
    ``on_change`` is told how many places are taken.
    """

    def __init__(
        self, places: int, *, patience: float = 0.25, on_change: Callable[[int], None] = lambda taken: None
    ) -> None:
        self._places = places
        self._patience = patience
        self._on_change = on_change
        self._began: dict[object, float] = {}
        self._changed = threading.Condition()

    @contextmanager
    def place(self, left: float | None = None) -> Iterator[None]:
        """Hold a place for the time of a call; ``left`` bounds the wait. A request that holds one needs no second.

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
                wait = min(self._began.values()) + self._patience - now
                if until is not None:
                    wait = min(wait, until - now)
                if wait <= 0:
                    raise BulkheadFull
                self._changed.wait(wait)
            self._began[ticket] = time.monotonic()
            self._on_change(len(self._began))
