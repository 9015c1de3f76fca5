"""Measures the calls to peers in a block of code. The metrics sum calls up; this is for callers that store each one."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime

from django.utils.timezone import now


@dataclass(slots=True)
class CallStats:
    """The start and the duration of a block of code, and the number of attempts to call peers in it.

    ``attempts`` is 0 if no request was sent, for example because the breaker was open. ``error`` is empty if the block
    succeeded; otherwise it is the ``code`` of the exception (of a peer's refusal, for example), or its class if it has
    no code (``PeerTimeout``).
    """

    began: datetime = field(default_factory=now)
    seconds: float = 0.0
    attempts: int = 0
    error: str = ""


_measured: ContextVar[CallStats | None] = ContextVar("call_stats", default=None)


@contextmanager
def measured() -> Iterator[CallStats]:
    """Measure the calls inside the block. The figures are complete when it ends, also by an exception."""
    stats, began = CallStats(), time.perf_counter()
    token = _measured.set(stats)
    try:
        yield stats
    except Exception as error:
        stats.error = getattr(error, "code", "") or type(error).__name__
        raise
    finally:
        stats.seconds = time.perf_counter() - began
        _measured.reset(token)


def tried() -> None:
    """Count an attempt. Called before each request to a peer."""
    stats = _measured.get()
    if stats is not None:
        stats.attempts += 1
