"""Calls between services: one kept connection for each thread and peer. `http.client` sets TCP_NODELAY."""

import os
import threading
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import NamedTuple

from benchmarks.contenders.limit.wire import Refused

_SECONDS = 5.0
_thread = threading.local()


class PeerAnswer(NamedTuple):
    """A response. ``pending`` means that the feed hides committed events."""

    status: int
    body: bytes
    pending: bool


def connection(service: str) -> HTTPConnection:
    kept: dict[str, HTTPConnection] = _thread.__dict__
    if service not in kept:
        place = os.environ[f"{service.upper()}_URL"].removeprefix("http://")
        kept[service] = HTTPConnection(place, timeout=_SECONDS)
    return kept[service]


def ask(service: str, method: str, path: str, body: bytes | None, trace: Mapping[str, str]) -> PeerAnswer:
    """Makes an idempotent call and repeats it once if the connection was closed. Raises Refused."""
    try:
        return _ask(service, method, path, body, trace)
    except ConnectionError:
        connection(service).close()
    except (OSError, HTTPException):
        raise unavailable(service) from None
    try:
        return _ask(service, method, path, body, trace)
    except (OSError, HTTPException):
        raise unavailable(service) from None


def _ask(service: str, method: str, path: str, body: bytes | None, trace: Mapping[str, str]) -> PeerAnswer:
    headers = {"X-Request-ID": trace["request_id"], "traceparent": trace["traceparent"]}
    if body is not None:
        headers["Content-Type"] = "application/json"
    connection(service).request(method, path, body, headers)
    return received(service)


def received(service: str) -> PeerAnswer:
    response = connection(service).getresponse()
    return PeerAnswer(response.status, response.read(), response.getheader("Feed-Pending") == "true")


def unavailable(service: str) -> Refused:
    connection(service).close()
    return Refused(503, "unavailable", f"{service}-service does not answer at the moment.")
