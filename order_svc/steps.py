"""What the steps of the saga took. The order's row keeps it, in the statements that write the row anyway."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from typing import Any

from platform_core.clients import Effort, measured

USER, STOCK = "user", "stock"

Steps = dict[str, Any]
"""``{"user": {"at": "2026-01-01T10:00:00.123456+00:00", "ms": 3.2, "attempts": 1, "error": ""}, "stock": …}``"""


@contextmanager
def taken(steps: Steps, name: str) -> Iterator[None]:
    """Note in ``steps`` what it takes to ask a peer, also when that comes to nothing."""
    effort = Effort()
    try:
        with measured() as effort:
            yield
    finally:
        steps[name] = {
            "at": effort.began.astimezone(UTC).isoformat(),
            "ms": round(effort.seconds * 1000, 1),
            "attempts": effort.attempts,
            "error": effort.error,
        }
