"""The leases of the attempts that are running in this process.

A lease lasts for `queue.LEASE` and is renewed while its attempt runs, so an attempt may take any time. A process that
was stopped for longer than that cannot renew: another worker may have taken the message meanwhile.
"""

import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass, field

from platform_core.outbox import queue
from platform_core.outbox.models import OutboxMessage


class LeaseLost(Exception):
    """The lease ended while the attempt ran. Another worker may have taken the message."""


@dataclass(slots=True)
class Lease:
    """The lease of one attempt. ``valid_until`` is a ``time.monotonic()`` value, on the safe side of Postgres' own."""

    message: OutboxMessage
    valid_until: float
    lost: bool = field(default=False)

    def check(self) -> None:
        """Raises LeaseLost unless the lease certainly holds. The monotonic clock goes on while a process is stopped."""
        if self.lost or time.monotonic() >= self.valid_until:
            raise LeaseLost("the lease ended before the message was sent")


class Leases:
    """The leases of one lane. Its duty's thread renews them; the threads of the attempts add and remove them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[int, Lease] = {}
        self._renewed_at = 0.0

    def hold(self, message: OutboxMessage, claimed_at: float) -> Lease:
        """Renew this message's lease from now on. ``claimed_at`` is the monotonic time before the claim."""
        lease = Lease(message, claimed_at + queue.LEASE.total_seconds())
        with self._lock:
            self._held[message.pk] = lease
        return lease

    def drop(self, lease: Lease) -> None:
        """Stop renewing: the attempt has ended."""
        with self._lock:
            self._held.pop(lease.message.pk, None)

    def renew_when_due(self) -> None:
        """Renew all leases, if a third of their time has passed since the last renewal."""
        began = time.monotonic()
        if began < self._renewed_at + renewal_seconds():
            return
        self._renewed_at = began
        with self._lock:
            held = dict(self._held)
        if not held:
            return
        kept = queue.renew([lease.message for lease in held.values()])
        for pk, lease in held.items():
            if pk in kept:
                lease.valid_until = began + queue.LEASE.total_seconds()
            else:
                lease.lost = True


def renewal_seconds() -> float:
    """The time between two renewals."""
    return queue.LEASE.total_seconds() / 3


current_lease: ContextVar[Lease | None] = ContextVar("outbox_lease", default=None)


def check_lease() -> None:
    """Raises LeaseLost if the attempt that runs in this thread may have lost its lease.

    Handlers call it before a step that cannot be repeated. Does nothing outside an attempt.
    """
    lease = current_lease.get()
    if lease is not None:
        lease.check()
