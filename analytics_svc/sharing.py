"""One run of a piece of work for all who ask for it at the same time, as databases do with an fsync (group commit)."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
PATIENCE = 0.25
"""Seconds that anybody waits for anybody else; a run that has taken longer hangs, and is not waited for at all."""


@dataclass(slots=True, eq=False)
class _Round(Generic[T]):
    """``outcome`` is None until there is one that will do for all."""

    began: float = 0.0
    ended: threading.Event = field(default_factory=threading.Event)
    outcome: T | None = None


class Shared(Generic[T]):
    """Runs ``make`` once for all who come before that run begins, and one run after the other.

    Who comes while it runs may know of something that it has passed over already: they wait for its end, and the first
    of them runs it for all of them. What does not satisfy ``will_do`` is only for the one who ran it, as is what it
    raises: the others, who may have more time, try for themselves. So do those who have waited for too long.
    """

    def __init__(self, make: Callable[[], T], will_do: Callable[[T], bool]) -> None:
        self._make = make
        self._will_do = will_do
        self._lock = threading.Lock()
        self._gathering: _Round[T] | None = None
        self._latest = _Round[T]()
        self._latest.ended.set()

    def get(self, patience: float) -> T:
        """Waits for others ``patience`` seconds at most. Raises what ``make`` does."""
        patience = min(patience, PATIENCE)
        with self._lock:
            before, joined = self._latest, self._gathering
            if joined is None:
                own = self._gathering = _Round[T]()
        if joined is None:
            return self._lead(own, before, patience)
        joined.ended.wait(patience)
        return self._make() if joined.outcome is None else joined.outcome

    def _lead(self, own: _Round[T], before: _Round[T], patience: float) -> T:
        try:
            try:
                before.ended.wait(min(patience, before.began + PATIENCE - time.monotonic()))
            finally:
                with self._lock:  # from here on nobody joins, and only then it begins
                    self._gathering, self._latest = None, own
                    own.began = time.monotonic()
            outcome = self._make()
            if self._will_do(outcome):
                own.outcome = outcome
            return outcome
        finally:
            own.ended.set()
