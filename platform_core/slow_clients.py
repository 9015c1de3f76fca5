"""Clients that send slowly are cut off: while a thread reads what somebody sends, it can do nothing else."""

import os
import socket
import threading
import time
from contextlib import suppress
from functools import cache

_TICK = 0.05
"""Seconds between two looks at the clock, and so how late a cut may be."""


class Reading:
    """What a thread reads from ``sock``. If it has not ended at ``deadline`` (of ``time.monotonic()``), it looks from
    then on as if the client had stopped sending.
    """

    __slots__ = ("_deadline", "_sock", "_watch")

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock, self._deadline = sock, deadline
        self._watch = _watch(os.getpid())
        self._watch.add(self)

    def end(self) -> bool:
        """Whether it has ended by itself. The first call counts."""
        return self._watch.take(self)

    def cut_when_due(self, now: float) -> None:
        if self._deadline <= now and self._watch.take(self):
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RD)


class _Watch:
    """One thread of a process looks at the clock, while anybody reads. To begin and end a reading takes no lock."""

    def __init__(self) -> None:
        self._readings: set[Reading] = set()
        self._is_wanted = threading.Event()
        threading.Thread(target=self._run, name="slow-clients", daemon=True).start()

    def add(self, reading: Reading) -> None:
        self._readings.add(reading)
        if not self._is_wanted.is_set():
            self._is_wanted.set()

    def take(self, reading: Reading) -> bool:
        """Whoever takes it out decides what becomes of it."""
        try:
            self._readings.remove(reading)
        except KeyError:
            return False
        return True

    def _run(self) -> None:
        while True:
            self._is_wanted.wait()
            time.sleep(_TICK)
            self._is_wanted.clear()
            for reading in self._readings.copy():
                reading.cut_when_due(time.monotonic())
            if self._readings:
                self._is_wanted.set()


@cache
def _watch(process: int) -> _Watch:
    return _Watch()
