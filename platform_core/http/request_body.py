"""Reads the whole request body before the view runs, within the request's deadline.

Otherwise a client that sends half a body could hold a thread without limit, and an unread body would break the
connection for the next request.
"""

import errno
import os
import socket
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from functools import cache
from io import BytesIO
from typing import Any

MAX_BODY_BYTES = 1024 * 1024
MAX_DISCARDED_BYTES = 16 * MAX_BODY_BYTES
"""The maximum number of bytes that are read of a body that is too large. Most clients send all first."""
LONGEST_LENGTH = 15
"""The maximum number of digits of a Content-Length."""
MAX_UPLOAD_BYTES = 64 * MAX_BODY_BYTES
"""The maximum size of an uploaded file."""
MAX_ENVELOPE_BYTES = 64 * 1024
"""The maximum size of what surrounds the file in the body of its form."""
UPLOAD_SECONDS = 60.0
"""Within this time a file arrives and is stored."""
BEGAN = "platform.began"
UPLOAD = "platform.upload"
LATE = "platform.body_is_late"
SHORT = "platform.body_is_short"
_TICK = 0.05
"""Seconds between two checks of the deadlines, and so the longest delay after a deadline."""


def take_in(environ: dict[str, Any], deadline: float) -> bool:
    """Read the body of a WSGI request into memory until ``deadline`` (of ``time.monotonic()``).

    Chunked bodies get a length. A body that is too large is discarded; its length is kept. A body that does
    not arrive in time is marked with LATE, one that ends too early with SHORT. Returns False for these two: it is
    unknown where the next request begins, so the answer must be a ``LastAnswer``.
    """
    is_chunked = environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked"
    length = environ.get("CONTENT_LENGTH") or "0"
    is_number = length.isascii() and length.isdigit() and len(length) <= LONGEST_LENGTH
    if not is_chunked and not (is_number and int(length)):
        return True
    source = environ["wsgi.input"]
    wanted = MAX_BODY_BYTES + 1 if is_chunked else min(int(length), MAX_BODY_BYTES + 1)
    sock: Any = environ.get("gunicorn.socket")  # None in Django's development server, which therefore has no deadline
    watch = None if sock is None else _watch(os.getpid())
    if watch is not None:
        watch.begin(sock, deadline)
    body = b""
    try:
        body = source.read(wanted)
        if len(body) > MAX_BODY_BYTES:
            _discard(source, len(body))
    except Exception:
        if watch is None or watch.end(sock):
            raise
        environ[LATE] = True  # a chunk that was cut off
    else:
        environ[LATE] = watch is not None and not watch.end(sock)
    environ[SHORT] = not is_chunked and len(body) < wanted
    environ["wsgi.input"] = BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))
    return not (environ[LATE] or environ[SHORT])


def _discard(source: Any, discarded: int) -> None:
    while discarded < MAX_DISCARDED_BYTES and (piece := source.read(65536)):
        discarded += len(piece)


_LATE = "The file did not arrive in time."


class Upload:
    """The body of an upload, which its view reads as it arrives, so that no process holds all of it.

    The view has asked who the caller is before it reads. ``deadline`` is a ``time.monotonic()`` value.
    """

    def __init__(self, environ: dict[str, Any], length: int, deadline: float) -> None:
        self._source = environ["wsgi.input"]
        self._socket: Any = environ.get("gunicorn.socket")
        self._deadline = deadline
        self._left = length

    @property
    def is_whole(self) -> bool:
        """Whether all of the body has been read."""
        return not self._left

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes; none at the end. Raises ConnectionError if the rest does not arrive in time."""
        wanted = self._left if size < 0 else min(size, self._left)
        if wanted and time.monotonic() >= self._deadline:  # the watch sees only a read that waits
            raise ConnectionAbortedError(_LATE)
        watch = None if self._socket is None or not wanted else _watch(os.getpid())
        if watch is not None:
            watch.begin(self._socket, self._deadline)
        try:
            found: bytes = self._source.read(wanted)
        finally:
            is_late = watch is not None and not watch.end(self._socket)
        if is_late:
            raise ConnectionAbortedError(_LATE)
        if len(found) < wanted:
            raise ConnectionAbortedError("The upload was broken off.")
        self._left -= len(found)
        return found

    def readline(self, size: int = -1) -> bytes:
        """The rest of the line, or at most ``size`` bytes of it. Django's parser of forms does not use it."""
        line = b""
        while not line.endswith(b"\n") and len(line) != size and (byte := self.read(1)):
            line += byte
        return line

    def discard(self, seconds: float) -> None:
        """Read the rest, so that a client that sends all first gets the answer. Gives up after ``seconds``."""
        self._deadline = time.monotonic() + seconds
        left = MAX_DISCARDED_BYTES + MAX_UPLOAD_BYTES
        with suppress(OSError):
            while left > 0 and (piece := self.read(65536)):
                left -= len(piece)


def upload_of(environ: dict[str, Any], paths: Collection[str]) -> Upload | None:
    """The upload that a WSGI request to one of ``paths`` is; None for any other request. Chunked bodies are none."""
    length = environ.get("CONTENT_LENGTH") or ""
    is_number = length.isascii() and length.isdigit() and len(length) <= LONGEST_LENGTH
    is_upload = environ.get("REQUEST_METHOD") == "POST" and environ.get("PATH_INFO") in paths
    if not (is_upload and is_number) or environ.get("HTTP_TRANSFER_ENCODING"):
        return None
    upload = Upload(environ, int(length), environ[BEGAN] + UPLOAD_SECONDS)
    environ[UPLOAD] = environ["wsgi.input"] = upload
    return upload


class LastAnswer:
    """A WSGI answer after which the server closes the connection.

    An application cannot send ``Connection: close``: WSGI forbids it, and gunicorn drops the header. Therefore
    ``close()``, which servers call after they have sent the answer, raises ConnectionResetError. gunicorn and wsgiref
    then close the connection and log no error.
    """

    def __init__(self, answer: Iterable[bytes]) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._answer)

    def close(self) -> None:
        """Close the answer. Always raises ConnectionResetError."""
        try:
            if hasattr(self._answer, "close"):
                self._answer.close()
        finally:
            raise ConnectionResetError(errno.ECONNRESET, "The request's body was not read to its end.")


class _Watch:
    """Ends the reading of bodies at their deadline, by shutting down the receiving side of the socket.

    A timeout of the socket would bound each ``recv`` but not the whole body. There is one thread for each process, and
    `begin` and `end` need no lock.
    """

    def __init__(self) -> None:
        self._deadlines: dict[socket.socket, float] = {}
        self._is_wanted = threading.Event()
        threading.Thread(target=self._run, name="late-bodies", daemon=True).start()

    def begin(self, sock: socket.socket, deadline: float) -> None:
        self._deadlines[sock] = deadline
        if not self._is_wanted.is_set():
            self._is_wanted.set()

    def end(self, sock: socket.socket) -> bool:
        """Stop watching. True for the first call, False if the other side (reader or watch) was faster."""
        return self._deadlines.pop(sock, None) is not None

    def _run(self) -> None:
        while True:
            self._is_wanted.wait()
            time.sleep(_TICK)
            self._is_wanted.clear()
            now = time.monotonic()
            for sock, deadline in self._deadlines.copy().items():
                if deadline <= now and self.end(sock):
                    with suppress(OSError):
                        sock.shutdown(socket.SHUT_RD)
            if self._deadlines:
                self._is_wanted.set()


@cache
def _watch(process: int) -> _Watch:
    return _Watch()
