"""Delivers one batch of outbox messages to one destination. The worker calls it repeatedly."""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import replace

from platform_core.clients.errors import PeerRefused, PeerUnreachable
from platform_core.conf.failpoints import reached
from platform_core.http.context import Context, accepted_traceparent, current, entered
from platform_core.observability import metrics, tracing
from platform_core.outbox.models import OutboxMessage
from platform_core.outbox.queue import (
    LEASE,
    Handler,
    PermanentFailure,
    claim,
    give_back,
    settle_delivered,
    settle_failed,
)

ATTEMPT_SECONDS = 5.0
_RETRYABLE_STATUSES = (408, 409, 425, 429)
log = logging.getLogger("platform.outbox")

Handlers = Mapping[str, Handler]


def deliver_due(destination: str, handlers: Handlers, stopping: threading.Event) -> bool:
    """Claim a batch and deliver it in order. True if there may be more.

    If the destination does not answer, the worker is stopping, or half of the lease has passed, the leases of the
    remaining messages are given up.
    """
    stop_at = time.monotonic() + LEASE.total_seconds() / 2
    batch = claim(destination)
    reachable = True
    for message in batch:
        if reachable and not stopping.is_set() and time.monotonic() < stop_at:
            reachable = attempt(message, handlers)
        else:
            give_back(message)
    return bool(batch) and reachable


def attempt(message: OutboxMessage, handlers: Handlers) -> bool:
    """Deliver one message and store the outcome. False if the destination could not be reached.

    The attempt belongs to the trace of the request that caused the message.
    """
    deadline = time.monotonic() + ATTEMPT_SECONDS
    ctx = Context(message.request_id, accepted_traceparent(message.traceparent), deadline, user=message.user)
    title, attributes = f"deliver {message.kind}", {"messaging.message.id": message.key}
    with entered(ctx), tracing.span(title, "consumer", message.traceparent, attributes) as span:
        return _attempt(message, handlers.get(message.kind, _UNKNOWN_KIND), span)


def _attempt(message: OutboxMessage, handler: Handler, span: tracing.Span) -> bool:
    try:
        reached("outbox.claimed")
        handler.deliver(message)
        reached("outbox.delivered")
    except Exception as error:
        failure: Exception | None = error
    else:
        failure = None
    with entered(replace(current(), deadline=None)):
        if failure is None:
            settle_delivered(message, handler)
            metrics.outbox_deliveries.labels(message.kind, "delivered").inc()
            log.info("outbox.delivered", extra={"data": _described(message)})
            return True
        span.failed(failure)
        fail(message, handler, failure)
        return not isinstance(failure, PeerUnreachable | OSError)


def fail(message: OutboxMessage, handler: Handler, error: Exception) -> None:
    """Store a failed attempt, as a dead letter if it was permanent or the last one, and log it."""
    dead = handler.max_attempts is not None and (message.attempts >= handler.max_attempts or is_permanent(error))
    text = f"{type(error).__name__}: {error}"
    settle_failed(message, handler, text, dead=dead)
    metrics.outbox_deliveries.labels(message.kind, "dead" if dead else "failed").inc()
    unexpected = not isinstance(error, PeerRefused | PeerUnreachable | PermanentFailure | OSError)
    data = {**_described(message), "error": text, "dead": dead}
    log.warning("outbox.failed", extra={"data": data}, exc_info=error if unexpected else None)


def _leave(message: OutboxMessage) -> None:
    raise LookupError(f"no handler for messages of kind {message.kind}")


_UNKNOWN_KIND = Handler(_leave)
"""For kinds that only a later version knows. The message waits for that version's workers and blocks no other."""


def is_permanent(error: Exception) -> bool:
    """Whether the error is a refusal that a retry cannot change."""
    if isinstance(error, PeerRefused):
        return error.status < 500 and error.status not in _RETRYABLE_STATUSES
    return isinstance(error, PermanentFailure)


def _described(message: OutboxMessage) -> dict[str, object]:
    return {"key": message.key, "kind": message.kind, "to": message.destination, "attempts": message.attempts}
