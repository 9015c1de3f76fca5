"""Attempts to deliver one outbox message, and stores the outcome."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from platform_core.clients.errors import CallerRefused, PeerFailed, PeerRefused, PeerUnreachable
from platform_core.conf.failpoints import reached
from platform_core.http.context import Context, accepted_traceparent, current, entered
from platform_core.observability import metrics, tracing
from platform_core.outbox.leases import Lease, LeaseLost, current_lease
from platform_core.outbox.models import OutboxMessage
from platform_core.outbox.queue import (
    DestinationUnreachable,
    Handler,
    PermanentFailure,
    record_expiry,
    settle_delivered,
    settle_failed,
)

ATTEMPT_SECONDS = 5.0
"""The deadline of an attempt. A handler may give a part of its work another one (`context.grace`)."""
_RETRYABLE_STATUSES = (408, 409, 425, 429)
_EXPECTED = (PeerRefused, PeerUnreachable, PermanentFailure, DestinationUnreachable, LeaseLost, OSError)
"""Failures that are logged without a traceback."""
log = logging.getLogger("platform.outbox")

Handlers = Mapping[str, Handler]


Settle = Callable[[OutboxMessage, Handler], bool]
"""Stores that a message was delivered; False if the lease was lost."""


def attempt(message: OutboxMessage, handlers: Handlers, lease: Lease, settle: Settle = settle_delivered) -> bool:
    """Deliver one message and store the outcome. False if the destination takes no messages at the moment.

    The attempt belongs to the trace of the request that caused the message.
    """
    handler = handlers.get(message.kind, UNKNOWN_KIND)
    with _attempting(message, lease) as span:
        failure = begin(message, handler) or _call(message, handler)
        if failure is not None:
            span.failed(failure)
        return conclude(message, handler, failure, settle)


def begin(message: OutboxMessage, handler: Handler) -> Exception | None:
    """The first step of an attempt: records that the one before has ended without an outcome.

    Returns an error if that was the last attempt; then there is nothing to deliver.
    """
    return _expired(message, handler) if message.lease_expired else None


def perform(message: OutboxMessage, handler: Handler, lease: Lease) -> Exception | None:
    """The delivery alone, for callers that keep the outcome for `conclude`. Returns its failure.

    It uses the database only if the handler does.
    """
    with _attempting(message, lease) as span:
        failure = _call(message, handler)
        if failure is not None:
            span.failed(failure)
        return failure


def conclude(
    message: OutboxMessage, handler: Handler, failure: Exception | None, settle: Settle = settle_delivered
) -> bool:
    """Store the outcome of an attempt. False if the destination takes no messages at the moment."""
    present = current()
    ctx = present if present.request_id == message.request_id else _context_of(message)
    with entered(replace(ctx, deadline=None)):
        if failure is None:
            _succeed(message, handler, settle)
            return True
        fail(message, handler, failure)
        return not is_unreachable(failure, message.destination)


@contextmanager
def _attempting(message: OutboxMessage, lease: Lease) -> Iterator[tracing.Span]:
    ctx = replace(_context_of(message), deadline=time.monotonic() + ATTEMPT_SECONDS)
    title, attributes = f"deliver {message.kind}", {"messaging.message.id": message.key}
    token = current_lease.set(lease)
    try:
        with entered(ctx), tracing.span(title, "consumer", message.traceparent, attributes) as span:
            yield span
    finally:
        current_lease.reset(token)


def _context_of(message: OutboxMessage) -> Context:
    return Context(message.request_id, accepted_traceparent(message.traceparent), user=message.user)


def _call(message: OutboxMessage, handler: Handler) -> Exception | None:
    try:
        reached("outbox.claimed")
        handler.deliver(message)
        reached("outbox.delivered")
    except Exception as error:
        return error
    return None


def _expired(message: OutboxMessage, handler: Handler) -> LeaseLost | None:
    """Count and log the attempt before this one, whose lease ran out. Returns an error if that was the last one."""
    metrics.outbox_deliveries.labels(message.kind, "lease_expired").inc()
    log.warning("outbox.lease_expired", extra={"data": {**_described(message), "attempts": message.attempts - 1}})
    if handler.max_attempts is not None and message.attempts > handler.max_attempts:
        return LeaseLost("every attempt ended, or stood still, before it stored an outcome")
    record_expiry(message, handler)
    return None


def _succeed(message: OutboxMessage, handler: Handler, settle: Settle) -> None:
    if settle(message, handler):
        metrics.outbox_deliveries.labels(message.kind, "delivered").inc()
        log.info("outbox.delivered", extra={"data": _described(message)})
    else:
        _lose(message, "the message was delivered")


def fail(message: OutboxMessage, handler: Handler, error: Exception) -> None:
    """Store a failed attempt, as a dead letter if it was permanent or the last one, and log it.

    To be refused as a caller is a fault of configuration. Such a message is retried until that is corrected.
    """
    is_last = handler.max_attempts is not None and message.attempts >= handler.max_attempts
    dead = (
        handler.max_attempts is not None and (is_last or is_permanent(error)) and not isinstance(error, CallerRefused)
    )
    text = f"{type(error).__name__}: {error}"
    if not settle_failed(message, handler, text, dead=dead):
        _lose(message, text)
        return
    metrics.outbox_deliveries.labels(message.kind, _outcome(error, dead=dead)).inc()
    data = {**_described(message), "error": text, "dead": dead}
    log.warning("outbox.failed", extra={"data": data}, exc_info=None if isinstance(error, _EXPECTED) else error)


def _outcome(error: Exception, *, dead: bool) -> str:
    if dead:
        return "dead"
    return {CallerRefused: "caller_refused", LeaseLost: "lease_lost"}.get(type(error), "failed")


def _lose(message: OutboxMessage, outcome: str) -> None:
    """The lease ended before the outcome could be stored. The worker that has the message now decides about it."""
    metrics.outbox_deliveries.labels(message.kind, "lease_lost").inc()
    log.error("outbox.lease_lost", extra={"data": {**_described(message), "outcome": outcome}})


def _leave(message: OutboxMessage) -> None:
    raise LookupError(f"no handler for messages of kind {message.kind}")


UNKNOWN_KIND = Handler(_leave)
"""For kinds that only a later version knows. The message waits for that version's workers and blocks no other."""


def is_permanent(error: Exception) -> bool:
    """Whether the error is a refusal that a retry cannot change."""
    if isinstance(error, PeerRefused):
        return error.status < 500 and error.status not in _RETRYABLE_STATUSES
    return isinstance(error, PermanentFailure)


def is_unreachable(error: Exception, destination: str) -> bool:
    """Whether the error says that the destination takes no messages at the moment.

    All other errors belong to the message: it backs off alone, and the rest go on. A 500 belongs to the message.
    """
    if isinstance(error, PeerUnreachable):
        return error.peer == destination and not (isinstance(error, PeerFailed) and error.status == 500)
    return isinstance(error, DestinationUnreachable | ConnectionRefusedError)


def _described(message: OutboxMessage) -> dict[str, object]:
    return {"key": message.key, "kind": message.kind, "to": message.destination, "attempts": message.attempts}
