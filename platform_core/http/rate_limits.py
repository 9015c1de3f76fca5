"""What a caller has left under a limit, as headers (draft-ietf-httpapi-ratelimit-headers-10)."""

import math
from collections.abc import Iterable
from typing import NamedTuple

HEADERS = ("RateLimit-Policy", "RateLimit")


class Allowance(NamedTuple):
    """``left`` of ``most`` requests in a window of ``window`` seconds, which begins again in ``seconds``."""

    name: str
    most: int
    window: int
    left: int
    seconds: float


def headers(allowances: Iterable[Allowance]) -> dict[str, str]:
    """The headers for the allowance that will be used up first. Empty if there is no allowance."""
    shown = min(allowances, key=lambda each: (each.left, -each.seconds), default=None)
    if shown is None:
        return {}
    policy, state = HEADERS
    return {
        policy: f'"{shown.name}";q={shown.most};w={shown.window}',
        state: f'"{shown.name}";r={shown.left};t={max(1, math.ceil(shown.seconds))}',
    }
