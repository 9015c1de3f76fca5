"""HTTP over libcurl, as a transport adapter of `requests`.

One timeout bounds a whole exchange: name resolution, every address of the peer, TLS, request and answer. The
page ``docs/decisions/0013-libcurl-carries-the-calls.md`` lists the pitfalls of libcurl that this module avoids.
"""

import io
import os
import select
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pycurl
import requests
from certifi import where
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidHeader, InvalidURL

MAX_BODY = 64 * 1024 * 1024
"""Largest accepted answer body in bytes. libcurl limits the headers to 300 KiB and 5,000 lines."""
MAX_IDLE = 60
"""Seconds. A connection that was idle for longer is not used again. gunicorn closes them after 75."""
MAX_AGE = 300
"""Seconds. An older connection is not used again, so that new replicas of a peer get their share of the calls."""
_QUICK_EXIT = 322
"""CURLOPT_QUICK_EXIT, which pycurl does not name. Without it, freeing a handle waits for a slow name server."""
_OPTIONS: dict[int, Any] = {
    pycurl.NOSIGNAL: 1,
    _QUICK_EXIT: 1,
    pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,
    pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
    pycurl.PROXY: "",  # also ignores the proxy variables of the environment
    pycurl.PATH_AS_IS: 1,
    pycurl.MAXCONNECTS: 1,
    pycurl.DNS_CACHE_TIMEOUT: 0,  # resolve the name for each new connection
}
_NOT_ADDED_BY_LIBCURL = (b"Accept:", b"Content-Type:", b"Expect:", b"User-Agent:")


class NotConnected(requests.ConnectionError):
    """No connection could be made: the peer has not received the request."""


class ConnectTimedOut(NotConnected):
    """No connection could be made within the timeout."""


class Dropped(requests.ConnectionError):
    """The connection broke, or the peer did not speak HTTP, before the answer's headers were complete."""


class Adapter(HTTPAdapter):
    """Sends a request at most once. Does not follow redirects, and ignores proxies, cookies and netrc.

    Each thread has its own connection to each peer, which is closed when the thread ends.
    """

    def __init__(self) -> None:
        super().__init__(max_retries=0)
        self._of_thread = _Handles()

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """``timeout``: seconds for the whole exchange. ``verify``: the path of a CA bundle, or True for certifi's.

        The answer is always read completely, even with ``stream``.

        Raises NotConnected, Dropped, requests.Timeout, and requests.ConnectionError for an incomplete answer.
        """
        if not isinstance(timeout, int | float):
            raise ValueError("The timeout must be a number of seconds.")
        if not verify or cert is not None:
            raise ValueError("Certificates are always verified, and client certificates are not supported.")
        handle = self._of_thread.handle(str(request.url), where() if verify is True else str(verify))
        try:
            return self.build_response(request, handle.exchanged(request, timeout))
        finally:
            handle.forget()

    def close(self) -> None:
        """Close the connections of this thread."""
        self._of_thread.by_peer.clear()
        super().close()


class _Handles(threading.local):
    """The handles of a thread. A forked child must not use its parent's handles, because they share the sockets."""

    def __init__(self) -> None:
        self.by_peer: dict[tuple[int, str, str, str], _Handle] = {}

    def handle(self, url: str, ca: str) -> "_Handle":
        """The handle for the peer at ``url``; ``ca`` is the path of the CA bundle that verifies its certificate."""
        parts = urlsplit(url)
        key = os.getpid(), parts.scheme, parts.netloc, ca
        handle = self.by_peer.get(key)
        if handle is None:
            handle = self.by_peer[key] = _Handle(ca)
        return handle


class _Answer(io.BytesIO):
    """An answer in the form that ``HTTPAdapter.build_response`` needs: a file with the body, and three attributes."""

    def __init__(self, status: int, reason: str, headers: dict[str, str], body: bytes) -> None:
        super().__init__(body)
        self.status = status
        self.reason = reason
        self.headers = headers


class _Handle:
    """A handle of libcurl with at most one connection, for one thread and one peer."""

    def __init__(self, ca: str) -> None:
        self._attempts: list[None] = []
        self._head: list[bytes] = []
        self._body: list[bytes] = []
        self._curl = pycurl.Curl()
        for option, value in _OPTIONS.items():
            self._curl.setopt(option, value)
        self._curl.setopt(pycurl.CAINFO, os.fsencode(ca))
        self._curl.setopt(pycurl.MAXAGE_CONN, MAX_IDLE)
        self._curl.setopt(pycurl.MAXLIFETIME_CONN, MAX_AGE)
        self._curl.setopt(pycurl.PREREQFUNCTION, _allows_one(self._attempts))
        self._curl.setopt(pycurl.HEADERFUNCTION, self._head.append)
        self._curl.setopt(pycurl.WRITEFUNCTION, self._body.append)

    def exchanged(self, request: requests.PreparedRequest, timeout: float) -> Any:
        """The answer to ``request``. Raises as ``Adapter.send`` does."""
        self._prepare(request)
        self._curl.setopt(pycurl.TIMEOUT_MS, max(int(timeout * 1000), 1))
        self._curl.setopt(pycurl.FRESH_CONNECT, self._needs_connection())
        try:
            self._curl.perform()
        except pycurl.error as error:
            raise self._kind(error)(error, request=request) from error
        head = _final_head(self._head)
        if head is None:
            raise Dropped("The connection was closed within the headers.", request=request)
        _, _, reason = head[0].partition(" ")[2].partition(" ")
        status = self._curl.getinfo(pycurl.RESPONSE_CODE)
        return _Answer(status, reason, _headers(head[1:]), b"".join(self._body))

    def forget(self) -> None:
        """Free the last request and answer. The connection stays open."""
        self._attempts.clear()
        self._head.clear()
        self._body.clear()
        self._curl.setopt(pycurl.POSTFIELDS, b"")

    def _prepare(self, request: requests.PreparedRequest) -> None:
        method, body = str(request.method), request.body or b""
        content = body.encode() if isinstance(body, str) else body
        try:
            self._curl.setopt(pycurl.URL, str(request.url).encode())
        except ValueError as error:
            raise InvalidURL(error, request=request) from error
        self._curl.setopt(pycurl.HTTPHEADER, _lines(method, request.headers))
        self._curl.setopt(pycurl.HTTPGET, 1)
        self._curl.setopt(pycurl.CUSTOMREQUEST, method)
        self._curl.setopt(pycurl.MAXFILESIZE_LARGE, 0 if method == "HEAD" else MAX_BODY)  # the length is that of a GET
        if method == "HEAD":
            self._curl.setopt(pycurl.NOBODY, 1)
        elif content or method not in ("GET", "DELETE"):
            self._curl.setopt(pycurl.POSTFIELDS, content)

    def _needs_connection(self) -> bool:
        """Whether there is no connection, or the peer has closed it. An open idle connection has nothing to read.

        Without a connection of its own, libcurl would still use an earlier one: of two connections used within the same
        millisecond, it may keep the one that was replaced.
        """
        descriptor = self._curl.getinfo(pycurl.ACTIVESOCKET)
        if descriptor < 0:
            return True
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(0))

    def _kind(self, error: pycurl.error) -> type[requests.RequestException]:
        is_timeout = error.args[0] == pycurl.E_OPERATION_TIMEDOUT
        if not self._attempts:
            return ConnectTimedOut if is_timeout else NotConnected
        if is_timeout:
            return requests.ReadTimeout
        return requests.ConnectionError if _final_head(self._head) else Dropped


def _allows_one(attempts: list[None]) -> Callable[..., Any]:
    """Stops libcurl from repeating a request.

    libcurl calls this before it sends a request. When a reused connection breaks before an answer, it sends the request
    again, even a POST that the peer has processed. Only the engine decides about retries.
    """

    def may_send(*addresses: object) -> Any:
        attempts.append(None)
        return pycurl.PREREQFUNC_OK if len(attempts) == 1 else pycurl.PREREQFUNC_ABORT

    return may_send


def _lines(method: str, headers: Any) -> list[bytes]:
    """In libcurl's own form, in which ``Name;`` is a header with an empty value and ``Name:`` removes it."""
    lines = [f"{name}: {value}" if value.strip() else f"{name};" for name, value in headers.items()]
    text = "\n".join([*lines, method])
    if text.count("\n") != len(lines) or "\r" in text or "\0" in text:
        raise InvalidHeader("There is a line break or a NUL in the method or in a header.")
    try:
        return [*text.encode("latin-1").split(b"\n")[:-1], *_NOT_ADDED_BY_LIBCURL]
    except UnicodeEncodeError as error:
        raise InvalidHeader(error) from error


def _final_head(lines: list[bytes]) -> list[str] | None:
    """The status line and headers of the final answer, without interim answers (1xx) and trailers.

    None if there is no complete answer. libcurl does not report this itself.
    """
    start = 0
    try:
        while True:
            end = lines.index(b"\r\n", start)
            if not lines[start].partition(b" ")[2].startswith(b"1"):
                return b"".join(lines[start:end]).decode("latin-1").split("\r\n")[:-1]
            start = end + 1
    except ValueError:
        return None


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
    return headers
