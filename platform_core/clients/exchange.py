"""One HTTP exchange with a peer, bounded as a whole by a deadline."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import requests
from django.conf import settings

from platform_core import __version__
from platform_core.clients.connections import Adapter, ConnectTimedOut, Dropped, NotConnected
from platform_core.clients.errors import (
    PeerConnectionFailed,
    PeerConnectTimeout,
    PeerDropped,
    PeerTimeout,
    PeerUnreachable,
)
from platform_core.http import context
from platform_core.observability import tracing

_ADAPTER = Adapter()


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to ``peer``. ``content`` is JSON. A parameter that is a list is sent once for each value."""

    peer: str
    method: str
    path: str
    params: Mapping[str, Any] | None
    content: bytes | None
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """A peer's answer: status, headers and body."""

    status: int
    headers: Mapping[str, str]
    content: bytes


def exchange(ask: Ask, deadline: float) -> Answer:
    """Send the request and receive the answer until ``deadline`` (of ``time.monotonic()``). Raises PeerUnreachable.

    Traced as a span, which is sent to the peer as the parent of its own span.
    """
    if not tracing.is_on():
        return _exchange(ask, deadline)
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
    try:
        response = _ADAPTER.send(_prepared(ask, left), timeout=left)
        return Answer(response.status_code, response.headers, response.content)
    except requests.RequestException as error:
        raise _named(ask.peer, error) from error


def _prepared(ask: Ask, left: float) -> requests.PreparedRequest:
    """Built by hand: a Session would also handle cookies, proxies and redirects, which doubles the cost of a call."""
    request = requests.PreparedRequest()
    query = f"?{urlencode(ask.params, doseq=True)}" if ask.params else ""
    request.method, request.url, request.body = ask.method, settings.PEER_URLS[ask.peer] + ask.path + query, ask.content
    traceparent = context.current().traceparent
    headers = {
        "User-Agent": f"{settings.SERVICE.name}/{__version__}",
        "Accept": "application/json",
        **ask.headers,
        **({"traceparent": traceparent} if traceparent else {}),
        "X-Request-Timeout": f"{max(left, 0.001):.3f}",
    }
    request.headers = headers  # type: ignore[assignment]  # a plain dict: the adapter does not need case-insensitive names
    return request


def _named(peer: str, error: requests.RequestException) -> PeerUnreachable:
    match error:
        case ConnectTimedOut():
            return PeerConnectTimeout(peer, "took no connection in time")
        case NotConnected():
            return PeerConnectionFailed(peer, "does not take connections")
        case requests.Timeout():
            return PeerTimeout(peer, "did not answer in time")
        case Dropped():
            return PeerDropped(peer, "closed the connection")
        case _:
            return PeerUnreachable(peer, f"gave no whole answer ({type(error).__name__})")
