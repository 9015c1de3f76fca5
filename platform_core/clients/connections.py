"""Connections that are kept between exchanges, as an adapter of `requests`.

The parser of the answers is llhttp, Node's. Under `requests`' own adapter a call costs several times as much, and its
timeouts bound single reads where a deadline has to bound the whole.
"""

import select
import socket
import ssl
import time
from collections import defaultdict, deque
from functools import cache
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httptools
import requests
from certifi import where
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict

MAX_IDLE = 64
"""Connections to one peer that are kept while nobody uses them."""
MAX_ANSWER = 64 * 1024 * 1024
"""Bytes, head and body."""
MAX_HEAD = 256 * 1024
_CHUNK = 64 * 1024
_LENGTHS = ("Content-Length", "Transfer-Encoding")
_FINAL = 200
_BROKEN = (OSError, httptools.HttpParserError, httptools.HttpParserUpgrade)


class NotConnected(requests.ConnectionError):
    """Nobody took the connection."""


class Dropped(requests.ConnectionError):
    """The connection broke, or spoke no HTTP, before the head of an answer was there."""


class _Answer:
    """What comes over a connection for one request; llhttp calls back with what it reads."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: CaseInsensitiveDict[str] = CaseInsensitiveDict()
        self.has_head = self.is_whole = self.is_last = False
        self._body: list[bytes] = []

    def receive(self, sock: socket.socket, deadline: float) -> bytes:
        """The body. Bounds each read by what is left, so that heads and bodies that trickle end in time, too.

        Raises TimeoutError, and what else is broken.
        """
        self._parser = httptools.HttpResponseParser(self)
        received = 0
        try:
            while not self.is_whole:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError("the deadline has passed")
                sock.settimeout(left)
                data = sock.recv(_CHUNK)
                received += len(data)
                if received > (MAX_ANSWER if self.has_head else MAX_HEAD):
                    raise OSError("there is no end to it")
                self._take(data) if data else self._end()
        finally:
            del self._parser  # it refers to this object
        return b"".join(self._body)

    def _take(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if not self.is_whole:
                raise
            self.is_last = True

    def _end(self) -> None:
        """An answer that tells no length ends with its connection."""
        if not self.has_head or any(name in self.headers for name in _LENGTHS):
            raise OSError("the connection was closed half-way")
        self.is_whole = True

    def on_message_begin(self) -> None:
        if self.is_whole:
            raise ValueError("more than was asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Those behind the body are no headers (RFC 9110, 6.5.1)."""
        if not self.has_head:
            self.headers[name.decode("latin-1")] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self.is_last = not self._parser.should_keep_alive()
        self.has_head = self.status >= _FINAL

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        self.is_whole = self.has_head
        if not self.has_head:  # an interim answer, such as 103
            self.headers.clear()
            self._body.clear()


class Adapter(HTTPAdapter):
    """``send`` takes ``timeout`` seconds at most for all of an exchange. It repeats nothing and follows nothing."""

    def __init__(self) -> None:
        super().__init__(max_retries=0)
        self._idle: defaultdict[tuple[str, str], deque[socket.socket]] = defaultdict(lambda: deque(maxlen=MAX_IDLE))

    def send(self, request: requests.PreparedRequest, *args: Any, timeout: Any = None, **kwargs: Any) -> Any:
        """Raises NotConnected, Dropped, requests.Timeout, and requests.ConnectionError for half an answer."""
        deadline = time.monotonic() + timeout
        url = urlsplit(str(request.url))
        idle = self._idle[url.scheme, url.netloc]
        body = request.body or b""
        assert isinstance(body, bytes)
        head = _head(request, url, len(body))
        sock = _taken_from(idle) or _connected(url, deadline)
        answer = _Answer()
        try:
            sock.settimeout(max(deadline - time.monotonic(), 0.001))
            sock.sendall(head + body)
            content = answer.receive(sock, deadline)
        except TimeoutError as error:
            sock.close()
            raise requests.ReadTimeout(error) from error
        except _BROKEN as error:
            sock.close()
            raise (requests.ConnectionError if answer.has_head else Dropped)(error) from error
        if answer.is_last:
            sock.close()
        else:
            idle.append(sock)
        return _response(request, answer, content)


def _taken_from(idle: deque[socket.socket]) -> socket.socket | None:
    """The connection that was used last, for it is the least likely to have been closed."""
    while True:
        try:
            sock = idle.pop()
        except IndexError:
            return None
        if not _is_dropped(sock):
            return sock
        sock.close()


def _is_dropped(sock: socket.socket) -> bool:
    """An idle connection has nothing to read; one that the peer has closed does."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _connected(url: SplitResult, deadline: float) -> socket.socket:
    left = max(deadline - time.monotonic(), 0.001)
    try:
        sock = socket.create_connection((url.hostname, url.port or (443 if url.scheme == "https" else 80)), left)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if url.scheme == "https":
            sock = _tls().wrap_socket(sock, server_hostname=url.hostname)
    except (OSError, UnicodeError) as error:
        raise NotConnected(error) from error
    return sock


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=where())


def _head(request: requests.PreparedRequest, url: SplitResult, length: int) -> bytes:
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    headers = {"Host": url.netloc.rpartition("@")[2], **request.headers}
    if length or request.method not in ("GET", "HEAD", "DELETE"):
        headers["Content-Length"] = str(length)
    lines = [f"{request.method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    head = "\r\n".join(lines)
    if not head.count("\r") == head.count("\n") == len(lines) - 1:
        raise requests.exceptions.InvalidHeader("a line break in a header")
    return head.encode("latin-1")


def _response(request: requests.PreparedRequest, answer: _Answer, content: bytes) -> requests.Response:
    response = requests.Response()
    response.request, response.url = request, str(request.url)
    response.status_code, response.headers, response._content = answer.status, answer.headers, content
    return response
