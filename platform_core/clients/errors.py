"""The errors of calls to peers. Callers catch the ones that they can handle."""

from typing import Any


class PeerError(Exception):
    """``peer`` is the service's name."""

    def __init__(self, peer: str, detail: str) -> None:
        self.peer = peer
        self.detail = detail
        super().__init__(f"{peer}: {detail}")


class PeerUnreachable(PeerError):
    """No usable answer. It is unknown whether the peer did the work."""


class PeerConnectionFailed(PeerUnreachable):
    """No connection was made: the peer has not received the request."""


class PeerConnectTimeout(PeerConnectionFailed):
    """No connection was made before the deadline."""


class PeerDropped(PeerUnreachable):
    """The connection broke before the first byte of the answer."""


class PeerTimeout(PeerUnreachable):
    """The deadline passed before the answer was complete."""


class PeerResting(PeerUnreachable):
    """Not called: the peer's circuit breaker is open."""


class PeerBusy(PeerUnreachable):
    """Not called: the bulkhead of this process is full."""


class PeerFailed(PeerUnreachable):
    """A 5xx, or an answer that breaks the contract."""

    def __init__(self, peer: str, detail: str, status: int) -> None:
        self.status = status
        super().__init__(peer, detail)


class PeerRefused(PeerError):
    """A 4xx: the peer understood the request and refused it. ``code`` and ``errors`` are those of its problem+json."""

    def __init__(self, peer: str, status: int, code: str, detail: str, errors: list[dict[str, Any]]) -> None:
        self.status = status
        self.code = code
        self.errors = errors
        super().__init__(peer, detail)
