"""Durations and errors of the saga's steps. The statements that write the order's row store them in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from typing import Any

from platform_core.clients import CallStats, measured

USER, STOCK = "user", "stock"

Steps = dict[str, Any]
"""``{"user": {"at": "2026-01-01T10:00:00.123456+00:00", "ms": 3.2, "attempts": 1, "error": ""}, "stock": …}``"""


@contextmanager
def taken(steps: Steps, name: str) -> Iterator[None]:
    """Records the call to a peer in ``steps``, whether it succeeds or fails."""
    stats = CallStats()
    try:
        with measured() as stats:
            yield
    finally:
        steps[name] = {
            "at": stats.began.astimezone(UTC).isoformat(),
            "ms": round(stats.seconds * 1000, 1),
            "attempts": stats.attempts,
            "error": stats.error,
        }
