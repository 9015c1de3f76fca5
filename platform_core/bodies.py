"""Request bodies, taken in whole before the work begins, within the request's deadline.

A client that sends half a body would otherwise hold a thread for as long as it likes, and a body that nobody reads
would break the connection for the next request on it.
"""

import heapq
import itertools
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from io import BytesIO
from typing import Any

MAX_BODY_BYTES = 1024 * 1024
MAX_DISCARDED_BYTES = 16 * MAX_BODY_BYTES
"""How much of a body that is too large is still read, so that its sender comes to read the answer."""
LONGEST_LENGTH = 15
"""Digits of a Content-Length that are worth reading as a number."""
LATE = "platform.body_is_late"


def take_in(environ: dict[str, Any], deadline: float) -> None:
    """Read the body of a WSGI request into memory until ``deadline`` (of ``time.monotonic()``).

    Bodies that come in chunks get a length. One that is too large keeps a length that says so, and is thrown away; one
    that does not come in time is marked with LATE.
    """
    is_chunked = environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked"
    length = environ.get("CONTENT_LENGTH") or "0"
    is_number = length.isascii() and length.isdigit() and len(length) <= LONGEST_LENGTH
    if not is_chunked and not (is_number and int(length)):
        return
    source = environ["wsgi.input"]
    with _cut_off(environ.get("gunicorn.socket"), deadline) as cut:
        body = source.read(MAX_BODY_BYTES + 1 if is_chunked else min(int(length), MAX_BODY_BYTES + 1))
        if len(body) > MAX_BODY_BYTES:
            discarded = len(body)
            while discarded < MAX_DISCARDED_BYTES and (piece := source.read(65536)):
                discarded += len(piece)
    environ["wsgi.input"] = BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))
    environ[LATE] = cut.late


class _Cut:
    """A socket that is to be read no more from a certain moment on, unless the reading is over by then."""

    def __init__(self, sock: socket.socket | None) -> None:
        self.sock = sock
        self.over = False
        self.late = False
        self.lock = threading.Lock()

    def make(self) -> None:
        with self.lock:
            if not self.over and self.sock is not None:
                self.late = True
                with suppress(OSError):
                    self.sock.shutdown(socket.SHUT_RD)


class _Scissors:
    """One thread for a process that cuts sockets off when their time has come."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, _Cut]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="bodies", daemon=True).start()

    def add(self, deadline: float, cut: _Cut) -> None:
        with self._changed:
            heapq.heappush(self._due, (deadline, next(self._numbers), cut))
            if self._due[0][2] is cut:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            self._next().make()

    def _next(self) -> _Cut:
        with self._changed:
            while True:
                while self._due and self._due[0][2].over:
                    heapq.heappop(self._due)  # read long ago: whoever wakes the thread once takes all of these away
                left = self._due[0][0] - time.monotonic() if self._due else None
                if left is not None and left <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(left)


@cache
def _scissors(process: int) -> _Scissors:
    return _Scissors()


@contextmanager
def _cut_off(sock: socket.socket | None, deadline: float) -> Iterator[_Cut]:
    """Read from ``sock`` inside; at the deadline it looks as if the client had stopped sending."""
    cut = _Cut(sock)
    if sock is not None:
        _scissors(os.getpid()).add(deadline, cut)
    try:
        yield cut
    finally:
        with cut.lock:
            cut.over = True
