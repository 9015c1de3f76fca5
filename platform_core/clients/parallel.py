"""Asks several peers at once."""

import contextvars
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from functools import cache
from typing import Any, TypeVar

from platform_core.clients.errors import PeerError, PeerTimeout
from platform_core.http import context
from platform_core.http.errors import DeadlineExceeded

_MARGIN = 0.2
"""Seconds that a call may need to end after its deadline."""
T = TypeVar("T")


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=16, thread_name_prefix="peers")


def begin_all(asks: Mapping[str, Callable[[], T]], seconds: float) -> Callable[[], dict[str, T | Exception]]:
    """Start the calls of ``asks``, by peer. Returns a function that waits for their results.

    The result of a call that failed is its PeerError or DeadlineExceeded. No call takes longer than ``seconds``, and
    the function returns then, also if a call has not even begun because too many others wait.
    """
    with context.within(seconds):
        ends = time.monotonic() + min(seconds, context.remaining() or seconds)
        begun = {peer: _pool().submit(contextvars.copy_context().run, ask) for peer, ask in asks.items()}
    return lambda: {peer: _result(peer, future, ends + _MARGIN) for peer, future in begun.items()}


def _result(peer: str, future: Future[Any], ends: float) -> Any:
    try:
        return future.result(timeout=max(0.0, ends - time.monotonic()))
    except TooLate:
        future.cancel()
        return PeerTimeout(peer, "did not answer in time")
    except (PeerError, DeadlineExceeded) as error:
        return error
