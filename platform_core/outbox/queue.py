"""Enqueues, claims and settles outbox messages. No transaction is open during a call to a peer."""

import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.db import connection, transaction
from django.utils.timezone import now

from platform_core.api.json import encode
from platform_core.db.connections import prepared
from platform_core.http import context
from platform_core.outbox.models import OutboxMessage

LEASE: Final = timedelta(seconds=30)
BATCH: Final = 10

# Only the oldest undelivered message of an aggregate and destination can be claimed, so none overtakes another.
# Materialized, because a plan may run a subquery more than once, and each run would lock other rows.
_CLAIM = """
    WITH due AS MATERIALIZED (
        SELECT m.id FROM outbox_outboxmessage m
        WHERE m.state = 'pending' AND m.destination = %(destination)s AND m.available_at <= now()
          AND (m.leased_until IS NULL OR m.leased_until < now())
          AND NOT EXISTS (
            SELECT FROM outbox_outboxmessage e
            WHERE e.state = 'pending' AND e.aggregate = m.aggregate AND e.destination = m.destination AND e.id < m.id
          )
        ORDER BY m.available_at LIMIT %(batch)s
        FOR UPDATE SKIP LOCKED
    )
    UPDATE outbox_outboxmessage m
    SET lease = %(lease)s, leased_until = now() + %(period)s, attempts = attempts + 1
    FROM due WHERE m.id = due.id
    RETURNING m.id
"""


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


@dataclass(frozen=True, slots=True)
class Handler:
    """How messages of one kind are delivered.

    ``deliver`` must be idempotent; it runs outside any transaction. With ``max_attempts`` None the message is retried
    for ever, with growing delays. ``on_delivered(message)`` and ``on_failure(message, error, dead)`` run in the
    transaction that stores the outcome.
    """

    deliver: Callable[[OutboxMessage], None]
    max_attempts: int | None = 60
    max_delay: float = 300.0
    on_delivered: Callable[[OutboxMessage], None] = lambda message: None
    on_failure: Callable[[OutboxMessage, str, bool], None] = lambda message, error, dead: None


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


def claim(destination: str) -> list[OutboxMessage]:
    """Lease due messages for ``destination``, oldest first. The lease is committed; other workers skip these rows."""
    with connection.cursor() as cursor:
        lease = uuid.uuid4()
        values: Any = {"lease": lease, "period": LEASE, "destination": destination, "batch": BATCH}
        cursor.execute(_CLAIM, values)
        ids = [row[0] for row in cursor.fetchall()]
    return list(OutboxMessage.objects.filter(id__in=ids, lease=lease).order_by("id")) if ids else []


@transaction.atomic
def settle_delivered(message: OutboxMessage, handler: Handler) -> None:
    """Mark a message as delivered, if this worker still holds its lease."""
    if _held(message).update(state="delivered", delivered_at=now(), lease=None, leased_until=None, last_error=""):
        handler.on_delivered(message)


@transaction.atomic
def settle_failed(message: OutboxMessage, handler: Handler, error: str, *, dead: bool) -> None:
    """Store a failed attempt and schedule the next one, or mark the message as dead. Needs the lease."""
    delay = timedelta(seconds=backoff(message.attempts, handler.max_delay))
    state = "dead" if dead else "pending"
    changes = {"state": state, "available_at": now() + delay, "last_error": error[:2000]}
    if _held(message).update(**changes, lease=None, leased_until=None):
        handler.on_failure(message, error, dead)


def give_back(message: OutboxMessage) -> None:
    """Give up the lease of a message that was not tried. Any worker can claim it at once."""
    _held(message).update(lease=None, leased_until=None, attempts=message.attempts - 1)


def redrive(messages: Any) -> int:
    """Retry dead letters; returns how many. Keys stay the same, so a receiver ignores messages that it already has."""
    changes = {"state": "pending", "attempts": 0, "available_at": now(), "last_error": ""}
    return int(messages.filter(state="dead").update(**changes))


def hasten(messages: Any) -> int:
    """Make waiting messages due now, without the rest of their backoff. Leased messages are left unchanged."""
    waiting = messages.filter(state="pending", lease=None, available_at__gt=now())
    return int(waiting.update(available_at=now()))


def backoff(attempts: int, max_delay: float) -> float:
    """Seconds until the next attempt: exponential, capped, half of it random."""
    ceiling: float = min(max_delay, 0.25 * 2 ** min(attempts, 30))
    return ceiling / 2 + random.uniform(0, ceiling / 2)  # noqa: S311


def _held(message: OutboxMessage) -> Any:
    """The row, if this worker still holds the lease."""
    return OutboxMessage.objects.filter(id=message.id, lease=message.lease, state="pending")
