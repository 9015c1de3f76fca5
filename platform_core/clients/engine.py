"""Calls a peer with a deadline, a bulkhead, a circuit breaker, retries within a budget, and typed errors.

All clients of `platform_core.clients` use it."""

import logging
import random
import time
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from platform_core.auth.tokens import service_token
from platform_core.clients.bulkhead import BulkheadFull
from platform_core.clients.call_stats import tried
from platform_core.clients.errors import (
    CallerRefused,
    PeerBusy,
    PeerConnectionFailed,
    PeerConnectTimeout,
    PeerDropped,
    PeerError,
    PeerFailed,
    PeerRefused,
    PeerResting,
    PeerUnreachable,
)
from platform_core.clients.exchange import Answer, Ask, exchange
from platform_core.clients.peers import peer_bulkhead, peer_state
from platform_core.http import context
from platform_core.http.errors import UNKNOWN_HOST, UNKNOWN_PATH
from platform_core.http.problems import CONTENT_TYPE
from platform_core.observability import metrics

DEFAULT_TIMEOUT = 5.0
SHARE_OF_DEADLINE = 0.9
"""The share of a request's remaining time that one call may use, so that the caller can still answer in time."""
ATTEMPTS = 3
FIRST_PAUSE = 0.05
FAIR_CHANCE = 1.0
"""Seconds. If a call with less time than this times out, that does not count as a failure for the breaker."""
INVALID_CREDENTIALS = "invalid_credentials"
"""The code of a 401 that is about the content: the password of a person who signs in."""
log = logging.getLogger("platform.peers")
UNREADABLE = (ValueError, RecursionError)
"""The errors of msgspec for an answer that is not JSON, not UTF-8, of another shape, or nested too deeply."""

T = TypeVar("T")


def call(
    peer: str,
    method: str,
    path: str,
    *,
    params: Mapping[str, Any] | None = None,
    body: Any = None,
    key: str | None = None,
    accept: str | None = None,
    headers: Mapping[str, str] | None = None,
    expect: int | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> Answer:
    """Call ``peer`` within ``timeout`` seconds, or within most of the request's remaining time if that is less.

    ``key`` is sent as Idempotency-Key. Idempotent calls (any method but POST, or a POST with a key) are retried when
    the peer refused the connection, dropped it, or was unavailable, as long as time and the retry budget allow.
    ``expect`` is the only accepted status, for calls whose success is recognised by the status.

    Raises PeerRefused for a 4xx, CallerRefused if the peer refuses this service as a caller, PeerUnreachable for any
    other answer that is not a 2xx, and DeadlineExceeded if the request's deadline passed before the call.
    """
    left = context.remaining()
    began = time.monotonic()
    deadline = began + (timeout if left is None else min(timeout, left * SHARE_OF_DEADLINE))
    content = None if body is None else msgspec.json.encode(body, enc_hook=str)
    sent = {**_headers(peer, body, key, accept), **(headers or {})}
    ask = Ask(peer, method, path, params, content, sent)
    attempts = ATTEMPTS if method != "POST" or key is not None else 1
    try:
        with peer_bulkhead().place(deadline - began):
            answer = _insist(ask, expect, deadline, attempts)
    except BulkheadFull:
        metrics.observe_call(peer, PeerBusy.__name__, time.monotonic() - began)
        raise PeerBusy(peer, "too many requests wait for peers") from None
    except PeerError as error:
        metrics.observe_call(peer, type(error).__name__, time.monotonic() - began)
        raise
    metrics.observe_call(peer, "ok", time.monotonic() - began)
    return answer


def decoded(peer: str, answer: Answer, shape: type[T]) -> T:
    """Decode the answer's body as ``shape``. Raises PeerFailed if it has another shape."""
    try:
        return msgspec.json.decode(answer.content, type=shape)
    except UNREADABLE as error:
        raise PeerFailed(peer, f"gave an answer of another shape: {error}", answer.status) from None


def _headers(peer: str, body: Any, key: str | None, accept: str | None) -> dict[str, str]:
    ctx = context.current()
    token = service_token(peer)
    headers = {"X-Request-ID": ctx.request_id, "Idempotency-Key": key, "Accept": accept}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    if body is not None:
        headers["Content-Type"] = "application/json"
    if ctx.is_poll:
        headers["X-Purpose"] = context.POLL
    return {name: value for name, value in headers.items() if value and value != "-"}


def _insist(ask: Ask, expect: int | None, deadline: float, attempts: int) -> Answer:
    """Full jitter (Brooker, Exponential Backoff and Jitter): retries of many callers do not come in waves."""
    budget = peer_state(ask.peer).budget
    budget.pay_in()
    for attempt in range(1, attempts + 1):
        try:
            return _attempt(ask, expect, deadline)
        except PeerUnreachable as error:
            pause = random.uniform(0, FIRST_PAUSE * 2**attempt)  # noqa: S311
            in_time = time.monotonic() + pause < deadline
            if attempt == attempts or not _is_passing(error) or not in_time or not budget.take():
                raise
            metrics.peer_retries.labels(ask.peer).inc()
            time.sleep(pause)
    raise AssertionError("unreachable")


def _is_passing(error: PeerUnreachable) -> bool:
    """Whether a retry may help. After a timeout there is no time left for one."""
    if isinstance(error, PeerFailed):
        return error.status in (502, 503, 504)
    return isinstance(error, PeerConnectionFailed | PeerDropped)


def _attempt(ask: Ask, expect: int | None, deadline: float) -> Answer:
    """One exchange, if the breaker allows it. Reports the outcome to the breaker."""
    breaker = peer_state(ask.peer).breaker
    if not breaker.allows():
        raise PeerResting(ask.peer, "has failed too often lately and is left alone for a moment")
    had_a_chance = deadline - time.monotonic() >= FAIR_CHANCE
    tried()
    try:
        answer = _checked(ask.peer, exchange(ask, deadline), expect)
    except PeerRefused:
        breaker.succeeded()
        peer_state(ask.peer).accepts_us()
        raise
    except CallerRefused as error:
        breaker.succeeded()
        peer_state(ask.peer).refuses_us(error.summary)
        raise
    except (PeerConnectionFailed, PeerDropped) as error:
        says_something = had_a_chance or not isinstance(error, PeerConnectTimeout)
        breaker.failed() if says_something else breaker.abandoned()
        raise
    except PeerUnreachable:
        breaker.failed() if had_a_chance else breaker.abandoned()
        raise
    except BaseException:
        breaker.abandoned()
        raise
    breaker.succeeded()
    peer_state(ask.peer).accepts_us()
    return answer


class _Problem(msgspec.Struct):
    type: str = ""
    code: str = "unknown"
    detail: str = ""
    errors: list[dict[str, Any]] = []


def _checked(peer: str, answer: Answer, expect: int | None) -> Answer:
    """Raises PeerRefused, CallerRefused, or PeerFailed.

    Only our problem+json says that a resource does not exist. Any other 404 comes from a proxy, from another program,
    or from a path that the peer does not have. A 4xx in HTML does not come from the peer either.
    """
    if answer.status == expect or (expect is None and 200 <= answer.status < 300):
        return answer
    try:
        problem = msgspec.json.decode(answer.content, type=_Problem)
    except UNREADABLE:
        problem = _Problem(detail=f"status {answer.status}")
    is_ours = answer.headers.get("Content-Type", "").startswith(CONTENT_TYPE)
    if _is_about_caller(answer.status, problem, is_ours=is_ours):
        log.error("peer.refuses_us", extra={"data": {"peer": peer, "status": answer.status, "detail": problem.detail}})
        raise CallerRefused(peer, answer.status, problem.detail)
    is_html = answer.headers.get("Content-Type", "").startswith("text/html")
    if 400 <= answer.status < 500 and not is_html:
        raise PeerRefused(peer, answer.status, problem.code, problem.detail, problem.errors)
    raise PeerFailed(peer, problem.detail, answer.status)


def _is_about_caller(status: int, problem: _Problem, *, is_ours: bool) -> bool:
    """Whether the answer refuses this service as a caller, whatever it asks for."""
    if status == 400:
        return any(error.get("code") == UNKNOWN_HOST for error in problem.errors)
    if status == 404:
        return not is_ours or problem.type == UNKNOWN_PATH
    return status in (401, 403, 405) and problem.code != INVALID_CREDENTIALS
