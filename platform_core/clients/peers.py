"""The state that a process keeps for its peers: breakers, retry budgets and the bulkhead."""

import os
from dataclasses import dataclass
from functools import cache

from django.conf import settings

from platform_core.clients.breaker import Breaker, State
from platform_core.clients.budget import RetryBudget
from platform_core.clients.bulkhead import Bulkhead
from platform_core.observability import metrics


@dataclass(frozen=True, slots=True)
class PeerState:
    """The breaker and the retry budget of one peer."""

    breaker: Breaker
    budget: RetryBudget


_known: dict[tuple[int, str], PeerState] = {}


def peer_state(peer: str) -> PeerState:
    """This process's view of a peer."""
    key = (os.getpid(), peer)
    state = _known.get(key)
    if state is None:
        gauge = metrics.peer_breakers_open.labels(peer)
        state = _known.setdefault(
            key, PeerState(Breaker(on_change=lambda s: gauge.set(s is not State.CLOSED)), RetryBudget())
        )
    return state


def breaker_states() -> dict[str, State]:
    """The breakers of the peers that this process has called."""
    return {peer: state.breaker.state for (process, peer), state in _known.items() if process == os.getpid()}


def peer_bulkhead() -> Bulkhead:
    """The bulkhead of the process. One thread always stays free for requests that need no peer."""
    return _bulkhead(os.getpid())


@cache
def _bulkhead(process: int) -> Bulkhead:
    metrics.peer_places.set(settings.PEER_PLACES)
    return Bulkhead(settings.PEER_PLACES, on_change=metrics.peer_places_used.set)


def forget() -> None:
    """Reset all state. For tests."""
    _known.clear()
    _bulkhead.cache_clear()
