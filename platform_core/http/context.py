"""The context of the request, or of the background work, that this thread is processing."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from random import getrandbits

from platform_core.http.errors import DeadlineExceeded
from platform_core.http.rate_limits import Allowance

DEFAULT_DEADLINE = 5.0
"""Seconds that a request may take without X-Request-Timeout."""
MAX_DEADLINE = 30.0
"""The longest allowed X-Request-Timeout, in seconds."""
NO_REQUEST_ID = "-"
"""The request id of commands and of background work that no request caused."""
POLL = "poll"
"""The value of X-Purpose with which a caller marks a request that it repeats every few seconds."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Context:
    """``deadline`` is a ``time.monotonic()`` value in seconds, or None without a limit.

    ``caller`` is the authenticated caller. ``user`` is the id of the user on whose behalf the request is made.
    ``is_poll`` is true for a request that a page or program repeats every few seconds; successes of such requests are
    logged at `debug`. Calls to peers pass on ``user`` and ``is_poll``. ``allowances``, by name, are what is left of the
    limits that the request counts under, for the answer's headers; None outside a request.
    """

    request_id: str = NO_REQUEST_ID
    traceparent: str = ""
    deadline: float | None = None
    caller: str = ""
    user: str = ""
    is_poll: bool = False
    allowances: dict[str, Allowance] | None = None

    @property
    def trace_id(self) -> str:
        """The trace id in hexadecimal."""
        match = _TRACEPARENT.fullmatch(self.traceparent)
        return match[1] if match else ""


_NO_REQUEST = Context()
_current: ContextVar[Context] = ContextVar("platform_context", default=_NO_REQUEST)


def current() -> Context:
    """The context of this thread."""
    return _current.get()


class entered:  # read as a verb: `with entered(context):`
    """Makes ``context`` the current one inside the block. A class, because a generator would cost each request more."""

    __slots__ = ("_context", "_token")

    def __init__(self, context: Context) -> None:
        self._context = context

    def __enter__(self) -> Context:
        self._token = _current.set(self._context)
        return self._context

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


def origin() -> dict[str, str]:
    """Request ids stored on rows, so that log lines can be correlated. Parameters for SQL, by name."""
    ctx = current()
    return {"request_id": ctx.request_id, "traceparent": ctx.traceparent, "user": ctx.user}


def called_by(caller: str, user: str) -> None:
    """Set the caller of the current context, and the user on whose behalf it calls."""
    _current.set(replace(_current.get(), caller=caller, user=user))


def note_allowance(allowance: Allowance) -> None:
    """Show in the answer to the current request what a limit leaves the caller. Does nothing outside a request."""
    noted = _current.get().allowances
    if noted is not None:
        noted[allowance.name] = allowance


@contextmanager
def grace(seconds: float) -> Iterator[Context]:
    """Give the block a deadline of its own, for cleanup that must run even if the request's deadline has passed."""
    with entered(replace(current(), deadline=time.monotonic() + seconds)) as context:
        yield context


@contextmanager
def within(seconds: float) -> Iterator[Context]:
    """Give the block ``seconds``, or the time until the current deadline if that is shorter."""
    present, own = current().deadline, time.monotonic() + seconds
    with entered(replace(current(), deadline=own if present is None else min(present, own))) as context:
        yield context


def remaining() -> float | None:
    """Seconds until the deadline, or None without one. Raises DeadlineExceeded if it has passed."""
    deadline = _current.get().deadline
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise DeadlineExceeded()
    return left


def accepted_request_id(value: str | None) -> str:
    """The caller's request id if it is well-formed, otherwise a new one."""
    return value if value and _REQUEST_ID.fullmatch(value) else _new(16)


def span_of(traceparent: str) -> tuple[str, str, str] | None:
    """Trace id, span id and flags in hexadecimal; None if ``traceparent`` is malformed."""
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None or match[1] == "0" * 32 or match[2] == "0" * 16:
        return None
    return match[1], match[2], traceparent[-2:]


def accepted_traceparent(value: str | None) -> str:
    """The caller's trace with a new span id (W3C Trace Context), or a new trace."""
    match = _TRACEPARENT.fullmatch(value) if value else None
    trace_id = match[1] if match and match[1] != "0" * 32 else _new(16)
    flags = value[-2:] if match and value else "01"
    return f"00-{trace_id}-{_new(8)}-{flags}"


def _new(size: int) -> str:
    """A random id of ``size`` bytes. Not for secrets."""
    return f"{getrandbits(8 * size):0{2 * size}x}"
