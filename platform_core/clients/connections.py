"""Connections that are kept between exchanges, as an adapter of `requests`.

The exchange itself is http.client's: under `requests`' own adapter, urllib3's pool costs three times as much, and its
timeouts bound single reads where a deadline has to bound the whole.
"""

import http.client
import io
import select
import socket
import ssl
import time
from collections import defaultdict, deque
from functools import cache
from typing import Any
from urllib.parse import SplitResult, urlsplit

import requests
from certifi import where
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict

MAX_IDLE = 64
"""Connections to one peer that are kept while nobody uses them."""


class NotConnected(requests.ConnectionError):
    """Nobody took the connection."""


class Dropped(requests.ConnectionError):
    """The connection broke, or spoke no HTTP, before the head of an answer was there."""


class _Reader(io.RawIOBase):
    """Bounds each read by what is left of the exchange, so that heads and bodies that trickle end in time, too."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self.sock = sock
        self.deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        self.sock.settimeout(left)
        return self.sock.recv_into(buffer)


class _Connection:
    """A socket, and the deadline of the exchange on it. ``makefile`` is what an HTTPResponse asks of a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.deadline = 0.0

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self.sock, self.deadline))

    def is_dropped(self) -> bool:
        """An idle connection has nothing to read; one that the peer has closed does."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(0))

    def exchange(self, head: bytes, body: bytes, method: str, deadline: float) -> http.client.HTTPResponse:
        """Send, and receive the head. Raises TimeoutError, OSError, HTTPException."""
        self.deadline = deadline
        self.sock.settimeout(max(deadline - time.monotonic(), 0.001))
        self.sock.sendall(head + body)
        response = http.client.HTTPResponse(self, method=method)  # type: ignore[arg-type]
        response.begin()
        return response


class Adapter(HTTPAdapter):
    """``send`` takes ``timeout`` seconds at most for all of an exchange. It repeats nothing and follows nothing."""

    def __init__(self) -> None:
        super().__init__(max_retries=0)
        self._idle: defaultdict[tuple[str, str], deque[_Connection]] = defaultdict(lambda: deque(maxlen=MAX_IDLE))

    def send(self, request: requests.PreparedRequest, *args: Any, timeout: Any = None, **kwargs: Any) -> Any:
        """Raises NotConnected, Dropped, requests.Timeout, and requests.ConnectionError for half an answer."""
        deadline = time.monotonic() + timeout
        url = urlsplit(str(request.url))
        idle = self._idle[url.scheme, url.netloc]
        body = request.body or b""
        assert isinstance(body, bytes)
        head = _head(request, url, len(body))
        connection = _taken_from(idle) or _connected(url, deadline)
        response = None
        try:
            response = connection.exchange(head, body, str(request.method), deadline)
            content = response.read()
        except TimeoutError as error:
            connection.sock.close()
            raise requests.ReadTimeout(error) from error
        except (OSError, http.client.HTTPException) as error:
            connection.sock.close()
            raise (Dropped if response is None else requests.ConnectionError)(error) from error
        if response.will_close:
            connection.sock.close()
        else:
            idle.append(connection)
        return _answer(request, response, content)


def _taken_from(idle: deque[_Connection]) -> _Connection | None:
    """The connection that was used last, for it is the least likely to have been closed."""
    while True:
        try:
            connection = idle.pop()
        except IndexError:
            return None
        if not connection.is_dropped():
            return connection
        connection.sock.close()


def _connected(url: SplitResult, deadline: float) -> _Connection:
    left = max(deadline - time.monotonic(), 0.001)
    try:
        sock = socket.create_connection((url.hostname, url.port or (443 if url.scheme == "https" else 80)), left)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if url.scheme == "https":
            sock = _tls().wrap_socket(sock, server_hostname=url.hostname)
    except (OSError, UnicodeError) as error:
        raise NotConnected(error) from error
    return _Connection(sock)


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=where())


def _head(request: requests.PreparedRequest, url: SplitResult, length: int) -> bytes:
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    headers = {"Host": url.netloc.rpartition("@")[2], **request.headers}
    if length or request.method not in ("GET", "HEAD", "DELETE"):
        headers["Content-Length"] = str(length)
    lines = [f"{request.method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise requests.exceptions.InvalidHeader("a line break in a header")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _answer(request: requests.PreparedRequest, response: http.client.HTTPResponse, content: bytes) -> requests.Response:
    answer = requests.Response()
    answer.request, answer.url = request, str(request.url)
    answer.status_code, answer.reason = response.status, response.reason
    answer.headers = CaseInsensitiveDict(response.headers.items())
    answer._content = content
    return answer
