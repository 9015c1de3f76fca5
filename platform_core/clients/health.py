"""Client of the services' `/health`."""

import msgspec

from platform_core.clients.engine import FAIR_CHANCE, call, decoded

HEALTH_SECONDS = FAIR_CHANCE
"""How long a service may take to say how it is."""


class Outbox(msgspec.Struct, frozen=True, rename="camel"):
    """``pending`` and ``dead`` are counted up to a bound; None if the service could not count them.

    ``oldest_seconds`` is None if no message waits.
    """

    pending: int | None = None
    oldest_seconds: float | None = None
    dead: int | None = None


class _Checks(msgspec.Struct, frozen=True):
    outbox: Outbox | None = None


class Health(msgspec.Struct, frozen=True):
    """``mode`` is `development` or `production`. Callers that may not see details get neither mode nor checks."""

    status: str
    service: str
    version: str = ""
    mode: str = ""
    checks: _Checks = _Checks()

    @property
    def outbox(self) -> Outbox | None:
        """None for a service without an outbox, or if the service could not read it."""
        found = self.checks.outbox
        return None if found is None or found.pending is None else found


def get_health(service: str, timeout: float = HEALTH_SECONDS) -> Health:
    """The state of a service. Raises PeerUnreachable if it is down or answers 503, and PeerRefused."""
    return decoded(service, call(service, "GET", "/health", timeout=timeout), Health)
