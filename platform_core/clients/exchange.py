"""One HTTP exchange with a peer, bounded as a whole by a deadline; connections are kept alive between exchanges."""

import http.client
import io
import os
import socket
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Any

import requests
from django.conf import settings
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProtocolError
from urllib3.util.retry import Retry

from platform_core import __version__, context, tracing
from platform_core.clients.errors import PeerConnectionFailed, PeerDropped, PeerTimeout, PeerUnreachable

_deadline: ContextVar[float] = ContextVar("exchange_deadline")


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked of ``peer``. ``content`` is JSON."""

    peer: str
    method: str
    path: str
    params: Mapping[str, Any] | None
    content: bytes | None
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    content: bytes


def exchange(ask: Ask, deadline: float) -> Answer:
    """Send and receive until ``deadline`` (of ``time.monotonic()``). Raises PeerUnreachable.

    It is a span of its own, which the peer is told as the one that calls it.
    """
    attributes = {"http.request.method": ask.method, "url.path": ask.path, "peer.service": ask.peer}
    with tracing.span(f"{ask.method} {ask.peer}", "client", attributes=attributes) as span:
        answer = _exchange(ask, deadline)
        span.note({"http.response.status_code": answer.status})
        if answer.status >= 400:
            span.failed()
        return answer


def _exchange(ask: Ask, deadline: float) -> Answer:
    left = deadline - time.monotonic()
    if left <= 0:
        raise PeerTimeout(ask.peer, "no time left to ask")
    token = _deadline.set(deadline)
    try:
        response = _session(os.getpid()).request(
            ask.method,
            settings.PEER_URLS[ask.peer] + ask.path,
            params=ask.params,
            data=ask.content,
            headers={**ask.headers, **_trace(), "X-Request-Timeout": f"{max(left, 0.001):.3f}"},
            timeout=left,
            allow_redirects=False,
        )
    except requests.RequestException as error:
        raise _named(ask.peer, error) from error
    finally:
        _deadline.reset(token)
    return Answer(response.status_code, response.headers, response.content)


def _trace() -> dict[str, str]:
    traceparent = context.current().traceparent
    return {"traceparent": traceparent} if traceparent else {}


def _named(peer: str, error: requests.RequestException) -> PeerUnreachable:
    causes = [error, *error.args, getattr(error.args[0], "reason", None) if error.args else None]
    if any(isinstance(cause, NewConnectionError | ConnectTimeoutError) for cause in causes):
        return PeerConnectionFailed(peer, "does not take connections")
    if isinstance(error, requests.Timeout) or "timed out" in str(error) or "deadline" in str(error):
        return PeerTimeout(peer, "did not answer in time")
    if any(isinstance(cause, ProtocolError) for cause in causes) and not isinstance(
        error, requests.exceptions.ChunkedEncodingError
    ):
        return PeerDropped(peer, "closed the connection")
    return PeerUnreachable(peer, f"gave no whole answer ({type(error).__name__})")


class _DeadlineReader(io.RawIOBase):
    """Bounds each read by what is left of the exchange, so that headers and bodies that trickle end in time, too."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase) -> None:
        self._sock = sock
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = _deadline.get() - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
            super().close()


class _DeadlineResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_DeadlineReader(sock, self.fp.detach()))


class _PlainConnection(HTTPConnection):
    response_class = _DeadlineResponse


class _TlsConnection(HTTPSConnection):
    response_class = _DeadlineResponse


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    """Keeps connections alive and retries nothing: what may be repeated is for the caller to say."""

    def __init__(self) -> None:
        super().__init__(pool_connections=8, pool_maxsize=64, max_retries=Retry(0, read=False))

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}


@cache
def _session(process: int) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", _Adapter())
    session.mount("https://", _Adapter())
    session.headers.update({"User-Agent": f"{settings.SERVICE.name}/{__version__}", "Accept": "application/json"})
    return session
