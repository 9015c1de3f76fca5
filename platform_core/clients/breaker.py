"""A circuit breaker (Nygard, Release It!): stops calls to a peer that keeps failing, for a while.

There is one for each peer in each process. Its lock is never held during a call.
"""

import random
import threading
import time
from collections.abc import Callable
from enum import StrEnum


class State(StrEnum):
    """The states of a circuit breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Opens after ``threshold`` failures in a row, for ``rest`` seconds ± 20 %, so that processes do not probe at once.

    After that it is half-open: one caller at a time may probe. Success closes the breaker, failure opens it again.
    ``clock`` returns seconds. ``on_change`` is called with the new state when the breaker opens or closes.
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
        """The present state."""
        with self._lock:
            return self._state()

    def _state(self) -> State:
        if self._failures < self._threshold:
            return State.CLOSED
        return State.OPEN if self._clock() < self._closed_again_at else State.HALF_OPEN

    def allows(self) -> bool:
        """Whether the caller may call the peer. If True, it must then call `succeeded`, `failed` or `abandoned`."""
        with self._lock:
            state = self._state()
            if state is State.HALF_OPEN and not self._probing:
                self._probing = True
                return True
            return state is State.CLOSED

    def succeeded(self) -> None:
        """Report a successful call. Closes the breaker."""
        with self._lock:
            was_open = self._failures >= self._threshold
            self._failures = 0
            self._probing = False
        if was_open:
            self._on_change(State.CLOSED)

    def failed(self) -> None:
        """Report a failed call. Opens the breaker when ``threshold`` is reached."""
        with self._lock:
            self._failures += 1
            self._probing = False
            is_open = self._failures >= self._threshold
            if is_open:
                self._closed_again_at = self._clock() + self._rest * random.uniform(0.8, 1.2)  # noqa: S311
        if is_open:
            self._on_change(State.OPEN)

    def abandoned(self) -> None:
        """Report a call whose outcome says nothing about the peer's health. Ends a probe."""
        with self._lock:
            self._probing = False
