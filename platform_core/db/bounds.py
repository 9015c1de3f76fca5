"""How long this process waits for Postgres, and what it does when Postgres answers nothing at all."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, Self

from django.http import HttpRequest, HttpResponse
from psycopg.abc import PQGen

from platform_core.db.silence import Answers, watch
from platform_core.db.waiting import TimedConnection, connected
from platform_core.http import context
from platform_core.http.context import DEFAULT_DEADLINE
from platform_core.http.errors import Unavailable
from platform_core.http.problems import problem_response

_BACKGROUND_SECONDS = 10.0
"""The longest wait outside a request."""
_LEAST_SECONDS = 0.2
"""For the commit or rollback of a request whose deadline has just passed."""
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_background_seconds: ContextVar[float] = ContextVar("platform_background_seconds", default=_BACKGROUND_SECONDS)


@contextmanager
def long_waits(seconds: float) -> Iterator[None]:
    """Allow each wait in the block ``seconds``. For background work only: a request's deadline is not moved."""
    token = _background_seconds.set(seconds)
    try:
        yield
    finally:
        _background_seconds.reset(token)


def seconds_left() -> float:
    """How long a wait that begins now may take: until the deadline of the context, else what background work may."""
    deadline = context.current().deadline
    if deadline is None:
        return _background_seconds.get()
    watch.start()
    return max(deadline - time.monotonic(), _LEAST_SECONDS)


LOCK_WAITS = "(SELECT set_config('lock_timeout', %(lock_ms)s::text, true)) IS NOT NULL"
"""A condition that is true, and limits each wait for a lock in the same transaction to `lock_milliseconds`.

It takes no round trip, and no setting is left in the session. Postgres evaluates it before the rows of the query.
"""
_SHARE_OF_LOCKS = 0.3


def lock_milliseconds() -> int:
    """The limit of a wait for a lock, for the parameter of `LOCK_WAITS`: three tenths of the time until the deadline.

    In a queue, Postgres waits twice for a row: for the first place of the queue, and then for the transaction that
    holds the row. Both together take less than the time left, so the refusal comes before the deadline.
    """
    left = context.remaining()
    return max(1, int(1000 * _SHARE_OF_LOCKS * (DEFAULT_DEADLINE if left is None else left)))


class BoundedConnection(TimedConnection):
    """Waits until the deadline of the context. While Postgres is known to be silent, it refuses at once."""

    @classmethod
    def connect(cls, conninfo: str = "", **kwargs: Any) -> Self:
        """Raises Silent, Unanswered, and what psycopg raises."""
        watch.refuse_if_silent()
        with watch.waiting():
            return connected(partial(super().connect, conninfo, **kwargs), seconds_left())

    def seconds_left(self) -> float:
        """The same for all connections."""
        return seconds_left()

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        """Raises Silent and Unanswered."""
        watch.refuse_if_silent()
        with watch.waiting():
            return super().wait(gen, interval, timeout)


class RefuseWritesMiddleware:
    """Answers unsafe methods with 503 while Postgres reads but does not commit. Reads go on.

    While it answers nothing at all, the connection refuses (`BoundedConnection`).
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        """Django's hook: the route is known by now, for the log and the metrics."""
        if watch.answers is Answers.READS and request.method not in _SAFE_METHODS:
            return problem_response(Unavailable("The database cannot store anything at the moment."), request)
        return None
