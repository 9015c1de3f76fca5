"""How a service says that it is."""

import msgspec

from platform_core.clients.engine import call, decoded


class Outbox(msgspec.Struct, frozen=True, rename="camel"):
    """``pending`` and ``dead`` are counted up to a bound, and None when the service could not look.

    ``oldest_seconds`` is None when nothing waits.
    """

    pending: int | None = None
    oldest_seconds: float | None = None
    dead: int | None = None


class _Checks(msgspec.Struct, frozen=True):
    outbox: Outbox | None = None


class Health(msgspec.Struct, frozen=True):
    """``mode`` is `development` or `production`."""

    status: str
    service: str
    version: str
    mode: str
    checks: _Checks

    @property
    def outbox(self) -> Outbox | None:
        """None for a service without one, or that could not look into it."""
        found = self.checks.outbox
        return None if found is None or found.pending is None else found


def get_health(service: str, timeout: float = 1.0) -> Health:
    """Raises PeerUnreachable for a service that is down: it says so by a 503. Raises PeerRefused, too."""
    return decoded(service, call(service, "GET", "/health", timeout=timeout), Health)
