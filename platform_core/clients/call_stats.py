"""Measures the calls to peers in a block of code. The metrics sum calls up; this is for callers that store each one."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime

from django.utils.timezone import now


@dataclass(slots=True)
class Effort:
    """The start, the duration and the number of attempts of a call; 0 attempts if the breaker was open.

    ``error`` is empty after an answer, the problem's code after a refusal, or the class of the failure (`PeerTimeout`).
    """

    began: datetime = field(default_factory=now)
    seconds: float = 0.0
    attempts: int = 0
    error: str = ""


_measured: ContextVar[Effort | None] = ContextVar("measured_effort", default=None)


@contextmanager
def measured() -> Iterator[Effort]:
    """Measure the calls inside; they may raise."""
    effort, began = Effort(), time.perf_counter()
    token = _measured.set(effort)
    try:
        yield effort
    except Exception as error:
        effort.error = getattr(error, "code", "") or type(error).__name__
        raise
    finally:
        effort.seconds = time.perf_counter() - began
        _measured.reset(token)


def tried() -> None:
    """Count an attempt. Called before each request to a peer."""
    effort = _measured.get()
    if effort is not None:
        effort.attempts += 1
