"""A retry budget (as in Finagle and gRPC): a sick peer must not be made sicker by everybody asking twice."""

import threading


class RetryBudget:
    """Each call pays ``share`` of a retry in, each retry takes a whole one; at most ``most`` are saved up."""

    def __init__(self, *, share: float = 0.08, most: float = 10.0, start: float = 1.0) -> None:
        self._share = share
        self._most = most
        self._saved = start
        self._lock = threading.Lock()

    def pay_in(self) -> None:
        with self._lock:
            self._saved = min(self._most, self._saved + self._share)

    def take(self) -> bool:
        """Whether there is a retry left; it is then spent."""
        with self._lock:
            if self._saved < 1:
                return False
            self._saved -= 1
            return True
