"""What can come of a call to a peer. Callers name the ones they can do something about."""

from typing import Any


class PeerError(Exception):
    """``peer`` is the service's name."""

    def __init__(self, peer: str, detail: str) -> None:
        self.peer = peer
        self.detail = detail
        super().__init__(f"{peer}: {detail}")


class PeerUnreachable(PeerError):
    """No usable answer: whether the peer did the work is not known."""


class PeerConnectionFailed(PeerUnreachable):
    """Nobody took the connection: the peer has seen nothing of the request."""


class PeerDropped(PeerUnreachable):
    """The connection broke before a byte of the answer came."""


class PeerTimeout(PeerUnreachable):
    """The deadline passed before the answer was whole."""


class PeerResting(PeerUnreachable):
    """Not asked: it has failed too often lately."""


class PeerBusy(PeerUnreachable):
    """Not asked: too many requests of this process wait for peers as it is."""


class PeerFailed(PeerUnreachable):
    """A 5xx, or an answer that breaks the contract."""

    def __init__(self, peer: str, detail: str, status: int) -> None:
        self.status = status
        super().__init__(peer, detail)


class PeerRefused(PeerError):
    """A 4xx: the peer understood and said no. ``code`` and ``errors`` are those of its problem+json."""

    def __init__(self, peer: str, status: int, code: str, detail: str, errors: list[dict[str, Any]]) -> None:
        self.status = status
        self.code = code
        self.errors = errors
        super().__init__(peer, detail)
