"""The errors of calls to peers. Callers catch the ones that they can handle."""

from typing import Any

from django.conf import settings


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


class CallerRefused(PeerUnreachable):
    """The peer refuses this service as a caller, whatever it asks for: a fault of configuration, not of the request.

    ``summary`` says so in a few words; it contains nothing of the peer's answer. ``status`` is the peer's.
    """

    def __init__(self, peer: str, status: int, reason: str) -> None:
        self.status = status
        self.summary = _MISDIRECTED.get(status) or f"refuses {settings.SERVICE.name}'s credentials"
        super().__init__(peer, f"{self.summary} ({status}: {reason})")


_WITHOUT_ROUTE = "has no such route; its URL or its version may be wrong"
_MISDIRECTED = {
    400: "does not serve the host name of its URL; its ALLOWED_HOSTS may lack it",
    404: _WITHOUT_ROUTE,
    405: _WITHOUT_ROUTE,
}


class PeerRefused(PeerError):
    """A 4xx: the peer understood the request and refused it. ``code`` and ``errors`` are those of its problem+json."""

    def __init__(self, peer: str, status: int, code: str, detail: str, errors: list[dict[str, Any]]) -> None:
        self.status = status
        self.code = code
        self.errors = errors
        super().__init__(peer, detail)
