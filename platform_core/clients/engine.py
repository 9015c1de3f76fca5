"""The one way to call a peer: kept-alive connections, one deadline over the whole exchange, typed errors."""

import http.client
import io
import os
import socket
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import msgspec
import requests
from django.conf import settings
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProtocolError
from urllib3.util.retry import Retry

from platform_core import __version__, context, metrics
from platform_core.clients.errors import (
    PeerConnectionFailed,
    PeerDropped,
    PeerError,
    PeerFailed,
    PeerRefused,
    PeerTimeout,
    PeerUnreachable,
)

DEFAULT_TIMEOUT = 5.0
_deadline: ContextVar[float] = ContextVar("exchange_deadline")

T = TypeVar("T")


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
        self.fp = io.BufferedReader(_DeadlineReader(sock, self.fp.detach()))  # type: ignore[attr-defined,assignment]


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


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    content: bytes


def call(
    peer: str,
    method: str,
    path: str,
    *,
    params: Mapping[str, Any] | None = None,
    body: Any = None,
    key: str | None = None,
    accept: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> Answer:
    """One exchange with ``peer`` within ``timeout`` seconds and within the request's own deadline, if that is sooner.

    ``key`` is sent as Idempotency-Key. A connection that turns out dropped before the answer began is replaced once,
    when repeating is harmless: any method but POST, or a POST with a key.

    Raises PeerRefused for a 4xx, PeerUnreachable for everything else that is no answer, DeadlineExceeded when the
    request's time was over before the call.
    """
    left = context.remaining()
    deadline = time.monotonic() + (timeout if left is None else min(timeout, left))
    headers = _headers(body, key, accept)
    content = None if body is None else msgspec.json.encode(body, enc_hook=str)
    harmless = method != "POST" or key is not None
    try:
        try:
            answer = _exchange(peer, method, path, params, content, headers, deadline)
        except PeerDropped:
            if not harmless:
                raise
            answer = _exchange(peer, method, path, params, content, headers, deadline)
        result = _checked(peer, answer)
    except PeerError as error:
        metrics.peer_calls.labels(peer, type(error).__name__).inc()
        raise
    metrics.peer_calls.labels(peer, "ok").inc()
    return result


def decoded(peer: str, answer: Answer, shape: type[T]) -> T:
    """The answer's body as ``shape``. Raises PeerFailed when it is something else."""
    try:
        return msgspec.json.decode(answer.content, type=shape)
    except msgspec.MsgspecError as error:
        raise PeerFailed(peer, f"answered something else than promised: {error}", answer.status) from None


def _headers(body: Any, key: str | None, accept: str | None) -> dict[str, str]:
    ctx = context.current()
    headers = {"X-Request-ID": ctx.request_id, "traceparent": ctx.traceparent, "Idempotency-Key": key, "Accept": accept}
    if body is not None:
        headers["Content-Type"] = "application/json"
    return {name: value for name, value in headers.items() if value and value != "-"}


def _exchange(
    peer: str,
    method: str,
    path: str,
    params: Mapping[str, Any] | None,
    content: bytes | None,
    headers: dict[str, str],
    deadline: float,
) -> Answer:
    left = deadline - time.monotonic()
    if left <= 0:
        raise PeerTimeout(peer, "no time left to ask")
    token = _deadline.set(deadline)
    try:
        response = _session(os.getpid()).request(
            method,
            settings.PEER_URLS[peer] + path,
            params=params,
            data=content,
            headers={**headers, "X-Request-Timeout": f"{left:.3f}"},
            timeout=left,
            allow_redirects=False,
        )
    except requests.RequestException as error:
        raise _named(peer, error) from error
    finally:
        _deadline.reset(token)
    return Answer(response.status_code, response.headers, response.content)


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


class _Problem(msgspec.Struct):
    code: str = "unknown"
    detail: str = ""
    errors: list[dict[str, Any]] = []


def _checked(peer: str, answer: Answer) -> Answer:
    if answer.status < 400:
        return answer
    try:
        problem = msgspec.json.decode(answer.content, type=_Problem)
    except msgspec.MsgspecError:
        problem = _Problem(detail=f"status {answer.status}")
    if answer.status >= 500:
        raise PeerFailed(peer, problem.detail, answer.status)
    raise PeerRefused(peer, answer.status, problem.code, problem.detail, problem.errors)
