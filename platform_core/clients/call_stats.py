"""What it took to ask peers: for whoever keeps that, beside the metrics that sum it up."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime

from django.utils.timezone import now


@dataclass(slots=True)
class Effort:
    """When the asking began, how long it took, and how often the peer was tried; none when its breaker was open.

    ``error`` is empty when it was answered, a refusal's code, or the kind of failure, such as `PeerTimeout`.
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
    """A peer is about to be asked once more."""
    effort = _measured.get()
    if effort is not None:
        effort.attempts += 1
