"""A retry budget (as in Finagle and gRPC): keeps retries from adding much load to a peer that is failing."""

import threading


class RetryBudget:
    """A token bucket: each call adds ``share`` of a token, each retry takes one; holds at most ``most`` tokens."""

    def __init__(self, *, share: float = 0.08, most: float = 10.0, start: float = 1.0) -> None:
        self._share = share
        self._most = most
        self._saved = start
        self._lock = threading.Lock()

    def pay_in(self) -> None:
        """Add the share of one call."""
        with self._lock:
            self._saved = min(self._most, self._saved + self._share)

    def take(self) -> bool:
        """Take one token. False if there is none: do not retry."""
        with self._lock:
            if self._saved < 1:
                return False
            self._saved -= 1
            return True
