"""The state that a process keeps for its peers: breakers, retry budgets and the bulkhead."""

import os
from dataclasses import dataclass
from functools import cache

from django.conf import settings

from platform_core.clients.breaker import Breaker, State
from platform_core.clients.budget import RetryBudget
from platform_core.clients.bulkhead import Bulkhead
from platform_core.observability import metrics


@dataclass(slots=True)
class PeerState:
    """The breaker and the retry budget of one peer.

    ``refusal`` says in a few words why the peer refuses this service as a caller; empty if it does not.
    """

    breaker: Breaker
    budget: RetryBudget
    refusal: str = ""

    def refuses_us(self, summary: str) -> None:
        """The last answer refused this service as a caller."""
        self.refusal = summary

    def accepts_us(self) -> None:
        """The last answer took this service's call."""
        if self.refusal:
            self.refusal = ""


_places: int | None = None
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


def peer_states() -> dict[str, PeerState]:
    """The peers that this process has called."""
    return {peer: state for (process, peer), state in _known.items() if process == os.getpid()}


def peer_bulkhead() -> Bulkhead:
    """The bulkhead of the process. One thread always stays free for requests that need no peer."""
    return _bulkhead(os.getpid())


@cache
def _bulkhead(process: int) -> Bulkhead:
    places = _places or settings.PEER_PLACES
    metrics.peer_places.set(places)
    return Bulkhead(places, on_change=metrics.peer_places_used.set)


def size_bulkhead(places: int) -> None:
    """Set the places of this process's bulkhead, for a worker: all its threads may call peers at once."""
    global _places
    _places = places
    _bulkhead.cache_clear()


def forget() -> None:
    """Reset all state. For tests."""
    _known.clear()
    _bulkhead.cache_clear()
