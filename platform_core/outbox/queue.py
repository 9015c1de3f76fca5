"""Enqueues, claims and settles outbox messages. No transaction is open during a call to a peer.

All times are those of Postgres' clock, so that the clocks of the workers need not agree.
"""

import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.db import connection, transaction
from django.db.models.functions import Now

from platform_core.api.json import encode
from platform_core.db.connections import array, prepared
from platform_core.http import context
from platform_core.outbox.models import OutboxMessage

LEASE: Final = timedelta(seconds=30)
BATCH: Final = 10

# Only the oldest undelivered message of an aggregate and destination can be claimed, so none overtakes another.
_DUE = """
        SELECT m.id, m.leased_until FROM outbox_outboxmessage m
        WHERE m.state = 'pending' AND m.destination = %(destination)s AND m.available_at <= now()
          AND (m.leased_until IS NULL OR m.leased_until < now())
          AND NOT EXISTS (
            SELECT FROM outbox_outboxmessage e
            WHERE e.state = 'pending' AND e.aggregate = m.aggregate AND e.destination = m.destination AND e.id < m.id
          )
          AND m.attempts {which}
        ORDER BY m.available_at LIMIT {limit}
        FOR UPDATE SKIP LOCKED
"""
# Messages that were never tried come first, so that those that fail again and again delay no other. Each half has its
# own index. Materialized, because a plan may run a subquery more than once, and each run would lock other rows.
_CLAIM = f"""
    WITH fresh AS MATERIALIZED ({_DUE.format(which="= 0", limit="%(limit)s")}
    ), again AS MATERIALIZED ({_DUE.format(which="> 0", limit="%(limit)s - (SELECT count(*) FROM fresh)")}
    ), due AS (SELECT * FROM fresh UNION ALL SELECT * FROM again)
    UPDATE outbox_outboxmessage m
    SET lease = %(lease)s, leased_until = now() + %(period)s, attempts = attempts + 1,
        last_error = CASE WHEN due.leased_until IS NULL THEN m.last_error ELSE %(expired)s END
    FROM due WHERE m.id = due.id
    RETURNING m.*, due.leased_until IS NOT NULL AS lease_expired
"""
HELD: Final = """
    SELECT m.id FROM outbox_outboxmessage m
    JOIN unnest(%(ids)s::bigint[], %(leases)s::uuid[]) AS held (id, lease) ON m.id = held.id AND m.lease = held.lease
    WHERE m.state = 'pending' ORDER BY m.id FOR UPDATE OF m
"""
"""Locks the messages whose leases still hold, in the order of ids, so that renewing and settling do not deadlock."""
DELIVERED: Final = """
    UPDATE outbox_outboxmessage m
    SET state = 'delivered', delivered_at = now(), last_error = '', lease = NULL, leased_until = NULL
    FROM held WHERE m.id = held.id
    RETURNING m.id, m.attempts, m.request_id, m.traceparent
"""
"""Marks the messages of a CTE ``held`` as delivered (`HELD`), for a handler's ``store``."""
_RENEW = f"""
    WITH held AS MATERIALIZED ({HELD})
    UPDATE outbox_outboxmessage m SET leased_until = now() + %(period)s
    FROM held WHERE m.id = held.id
    RETURNING m.id
"""
EXPIRED: Final = "LeaseLost: the worker of the last attempt ended, or stood still, before it stored an outcome"
"""The ``last_error`` of a message that was claimed again because its lease ran out."""


def enqueueing(rows: str) -> str:
    """The SQL that writes messages, to be run alone or as a CTE of another statement.

    ``rows`` is a query that selects kind, destination, aggregate, key and payload in the order of the messages. The
    statement's parameters are those of `context.origin` and those of ``rows``.
    """
    return f"""
        INSERT INTO outbox_outboxmessage (
            kind, destination, aggregate, key, payload, state, attempts, available_at, last_error,
            request_id, traceparent, "user", created_at
        )
        SELECT kind, destination, aggregate, key, payload, 'pending', 0, clock_timestamp(), '',
               %(request_id)s, %(traceparent)s, %(user)s, clock_timestamp()
        FROM ({rows}) AS m (kind, destination, aggregate, key, payload)
    """


_ENQUEUE = enqueueing("""
    SELECT kind, destination, aggregate, key, payload::jsonb
    FROM unnest(%(kinds)s::text[], %(destinations)s::text[], %(aggregates)s::text[], %(keys)s::text[],
                %(payloads)s::text[]) WITH ORDINALITY AS m (kind, destination, aggregate, key, payload, n)
    ORDER BY n
""")


@dataclass(frozen=True, slots=True)
class Message:
    """A message to enqueue. ``key`` is unique for ever; it is the idempotency key for the receiver."""

    kind: str
    destination: str
    aggregate: str
    key: str
    payload: Mapping[str, Any]


class PermanentFailure(Exception):
    """Raised by a handler when a retry cannot help."""


class DestinationUnreachable(Exception):
    """Raised by a handler when the destination takes no messages at all, so that trying others is useless for now."""


def _nothing() -> None: ...


@dataclass(frozen=True, slots=True)
class Handler:
    """How messages of one kind are delivered.

    ``deliver`` must be idempotent; it runs outside any transaction. With ``max_attempts`` None the message is retried
    for ever, with growing delays. ``on_delivered(message)`` and ``on_failure(message, error, dead)`` run in the
    transaction that stores the outcome. ``store(messages)`` replaces ``on_delivered`` for kinds with many messages: it
    stores that all were delivered, in one statement with `HELD` and `DELIVERED`, and returns the ids of those whose
    lease still held. ``release()`` is called in each delivering thread before it ends, to close
    connections that it has kept.
    """

    deliver: Callable[[OutboxMessage], None]
    max_attempts: int | None = 60
    max_delay: float = 300.0
    on_delivered: Callable[[OutboxMessage], None] = lambda message: None
    on_failure: Callable[[OutboxMessage, str, bool], None] = lambda message, error, dead: None
    release: Callable[[], None] = _nothing
    store: Callable[[Sequence[OutboxMessage]], set[int]] | None = None


def enqueue(*messages: Message) -> None:
    """Write messages in the surrounding transaction, with one statement for all."""
    if messages:
        values = {
            "kinds": [message.kind for message in messages],
            "destinations": [message.destination for message in messages],
            "aggregates": [message.aggregate for message in messages],
            "keys": [message.key for message in messages],
            "payloads": [encode(message.payload).decode() for message in messages],
        }
        prepared(_ENQUEUE, {**context.origin(), **values})


def claim(destination: str, limit: int = BATCH) -> list[OutboxMessage]:
    """Lease at most ``limit`` due messages for ``destination``: those that were never tried first, then by due time.

    The lease is committed; other workers skip these rows. ``lease_expired`` of a message says that an earlier attempt
    ended without an outcome; it counts as an attempt.
    """
    values = {"lease": uuid.uuid4(), "period": LEASE, "destination": destination, "limit": limit, "expired": EXPIRED}
    return sorted(OutboxMessage.objects.raw(_CLAIM, values), key=lambda message: (message.attempts > 1, message.pk))


def renew(messages: Sequence[OutboxMessage]) -> set[int]:
    """Extend the leases of messages that are being delivered. Returns the ids of those whose lease still held."""
    values: Any = {"period": LEASE, **held_values(messages)}
    with connection.cursor() as cursor:
        cursor.execute(_RENEW, values)
        return {row[0] for row in cursor.fetchall()}


def settle_delivered(message: OutboxMessage, handler: Handler) -> bool:
    """Mark a message as delivered. False, without any change, if this worker has lost its lease."""
    if handler.store is not None:
        return message.pk in handler.store([message])
    return _settle_delivered(message, handler)


def held_values(messages: Sequence[OutboxMessage]) -> dict[str, str]:
    """The parameters of `HELD`."""
    return {"ids": array(message.pk for message in messages), "leases": array(str(m.lease) for m in messages)}


@transaction.atomic
def _settle_delivered(message: OutboxMessage, handler: Handler) -> bool:
    delivered = {"state": "delivered", "delivered_at": Now(), "last_error": ""}
    if not _held(message).update(**delivered, lease=None, leased_until=None):
        return False
    handler.on_delivered(message)
    return True


@transaction.atomic
def settle_failed(message: OutboxMessage, handler: Handler, error: str, *, dead: bool) -> bool:
    """Store a failed attempt and schedule the next one, or mark the message as dead.

    False, without any change, if this worker has lost its lease.
    """
    delay = timedelta(seconds=backoff(message.attempts, handler.max_delay))
    state = "dead" if dead else "pending"
    changes = {"state": state, "available_at": Now() + delay, "last_error": error[:2000]}
    if not _held(message).update(**changes, lease=None, leased_until=None):
        return False
    handler.on_failure(message, error, dead)
    return True


@transaction.atomic
def record_expiry(message: OutboxMessage, handler: Handler) -> None:
    """Report to the handler that the attempt before this one has failed, because its lease ran out."""
    if _held(message).select_for_update().exists():
        handler.on_failure(message, message.last_error, False)


def redrive(messages: Any) -> int:
    """Retry dead letters; returns how many. Keys stay the same, so a receiver ignores messages that it already has."""
    changes = {"state": "pending", "attempts": 0, "available_at": Now(), "last_error": ""}
    return int(messages.filter(state="dead").update(**changes))


def hasten(messages: Any) -> int:
    """Make waiting messages due now, without the rest of their backoff. Leased messages are left unchanged."""
    waiting = messages.filter(state="pending", lease=None, available_at__gt=Now())
    return int(waiting.update(available_at=Now()))


def backoff(attempts: int, max_delay: float) -> float:
    """Seconds until the next attempt: exponential, capped, half of it random."""
    ceiling: float = min(max_delay, 0.25 * 2 ** min(attempts, 30))
    return ceiling / 2 + random.uniform(0, ceiling / 2)  # noqa: S311


def _held(message: OutboxMessage) -> Any:
    """The row, if this worker still holds the lease."""
    return OutboxMessage.objects.filter(id=message.id, lease=message.lease, state="pending")
