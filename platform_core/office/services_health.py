"""The state of the services as this process last saw it, for the bar of its pages."""

import threading
import time
from collections.abc import Mapping
from functools import partial

from django.conf import settings

from platform_core.clients.breaker import State
from platform_core.clients.errors import CallerRefused, PeerBusy
from platform_core.clients.health import HEALTH_SECONDS, Health, get_health
from platform_core.clients.parallel import begin_all
from platform_core.clients.peers import peer_states
from platform_core.http.errors import DeadlineExceeded
from platform_core.observability import health
from platform_core.topology import SERVICES

FRESH_SECONDS = 10.0
"""Seconds for which a process keeps an answer. However many pages are open, a peer is asked no more often."""
KNOWN_SECONDS = 60.0
"""Seconds for which a page shows an answer before its script has asked again."""
OK, DOWN, UNKNOWN = "ok", "down", "unknown"
STATUSES = (OK, DOWN, UNKNOWN)

_lock = threading.Lock()
_last: tuple[float, Mapping[str, str]] = (float("-inf"), {})


def known_states() -> dict[str, str]:
    """What this process knows of the services, without asking anybody: ``ok``, ``down`` or ``unknown``, by name."""
    asked_at, states = _last
    recent = states if time.monotonic() - asked_at < KNOWN_SECONDS else {}
    open_breakers = {peer for peer, state in peer_states().items() if state.breaker.state is not State.CLOSED}
    known = {s.name: DOWN if s.name in open_breakers else recent.get(s.name, UNKNOWN) for s in SERVICES}
    return {**known, settings.SERVICE.name: OK}


def current_states() -> dict[str, str]:
    """The state of the services now, or at most `FRESH_SECONDS` ago. Asks the peers, at once, for a second at most.

    While one thread asks, the others get what is known.
    """
    global _last
    asked_at, states = _last
    if time.monotonic() - asked_at < FRESH_SECONDS:
        return dict(states)
    if not _lock.acquire(blocking=False):
        return known_states()
    try:
        peers = [service.name for service in SERVICES if service is not settings.SERVICE]
        answers = begin_all({name: partial(get_health, name) for name in peers}, HEALTH_SECONDS)
        own = health.report()["status"]
        states = {settings.SERVICE.name: OK if own == OK else DOWN}
        states |= {name: _state(answer) for name, answer in answers().items()}
        _last = (time.monotonic(), states)
    finally:
        _lock.release()
    return dict(states)


def forget() -> None:
    """Forget what is known. For tests."""
    global _last
    _last = (float("-inf"), {})


def _state(answer: Health | Exception) -> str:
    match answer:
        case Health(status="ok"):
            return OK
        case PeerBusy() | DeadlineExceeded() | CallerRefused():
            return UNKNOWN
        case _:
            return DOWN
