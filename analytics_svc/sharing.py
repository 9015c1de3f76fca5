"""Shares one run of a function among concurrent callers, as databases share an fsync (group commit)."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
MAX_WAIT = 0.25
"""Maximum time in seconds that a caller waits for another one. A run that takes longer counts as hanging."""


@dataclass(slots=True, eq=False)
class _Round(Generic[T]):
    """One run. ``outcome`` is None until there is a result that all callers may use."""

    began: float = 0.0
    ended: threading.Event = field(default_factory=threading.Event)
    outcome: T | None = None


class Shared(Generic[T]):
    """Coalesces concurrent calls of ``make``. Runs do not overlap.

    Callers that arrive before a run starts share its result. Callers that arrive during a run may need newer data, so
    they wait for the next run, which the first of them performs. A result that does not satisfy ``will_do`` and an
    exception go only to the caller that performed the run. The others may have more time and call ``make`` themselves,
    as do callers that have waited for too long.
    """

    def __init__(self, make: Callable[[], T], will_do: Callable[[T], bool]) -> None:
        self._make = make
        self._will_do = will_do
        self._lock = threading.Lock()
        self._gathering: _Round[T] | None = None
        self._latest = _Round[T]()
        self._latest.ended.set()

    def get(self, max_wait: float) -> T:
        """Returns a result of ``make`` and raises its errors. Waits at most ``max_wait`` seconds for other callers."""
        max_wait = min(max_wait, MAX_WAIT)
        with self._lock:
            before, joined = self._latest, self._gathering
            if joined is None:
                own = self._gathering = _Round[T]()
        if joined is None:
            return self._lead(own, before, max_wait)
        joined.ended.wait(max_wait)
        return self._make() if joined.outcome is None else joined.outcome

    def _lead(self, own: _Round[T], before: _Round[T], max_wait: float) -> T:
        try:
            try:
                before.ended.wait(min(max_wait, before.began + MAX_WAIT - time.monotonic()))
            finally:
                with self._lock:  # nobody may join after this, so the run starts only now
                    self._gathering, self._latest = None, own
                    own.began = time.monotonic()
            outcome = self._make()
            if self._will_do(outcome):
                own.outcome = outcome
            return outcome
        finally:
            own.ended.set()
