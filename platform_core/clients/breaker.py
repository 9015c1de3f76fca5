"""A circuit breaker (Nygard, Release It!): a peer that keeps failing is left alone for a while.

One for each peer and process. Its lock is held only to look and to note, never during a call.
"""

import random
import threading
import time
from collections.abc import Callable
from enum import StrEnum


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Opens after ``threshold`` failures in a row, for ``rest`` seconds give or take a fifth, so that processes differ.

    Then one caller at a time may probe; its success closes the breaker, its failure opens it again.
    """

    def __init__(
        self,
        *,
        threshold: int = 5,
        rest: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[State], None] = lambda state: None,
    ) -> None:
        self._threshold = threshold
        self._rest = rest
        self._clock = clock
        self._on_change = on_change
        self._lock = threading.Lock()
        self._failures = 0
        self._closed_again_at = 0.0
        self._probing = False

    @property
    def state(self) -> State:
        with self._lock:
            return self._state()

    def _state(self) -> State:
        if self._failures < self._threshold:
            return State.CLOSED
        return State.OPEN if self._clock() < self._closed_again_at else State.HALF_OPEN

    def allows(self) -> bool:
        """Whether to call. A caller that was let through must tell `succeeded`, `failed` or `abandoned`."""
        with self._lock:
            state = self._state()
            if state is State.HALF_OPEN and not self._probing:
                self._probing = True
                return True
            return state is State.CLOSED

    def succeeded(self) -> None:
        with self._lock:
            was_open = self._failures >= self._threshold
            self._failures = 0
            self._probing = False
        if was_open:
            self._on_change(State.CLOSED)

    def failed(self) -> None:
        with self._lock:
            self._failures += 1
            self._probing = False
            is_open = self._failures >= self._threshold
            if is_open:
                self._closed_again_at = self._clock() + self._rest * random.uniform(0.8, 1.2)  # noqa: S311
        if is_open:
            self._on_change(State.OPEN)

    def abandoned(self) -> None:
        """The call came to nothing that says anything about the peer."""
        with self._lock:
            self._probing = False
