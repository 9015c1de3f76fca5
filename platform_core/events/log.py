"""Appending events, and reading them in the order of the feed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from django.conf import settings
from django.db import connection

from platform_core import context
from platform_core.api.json import encode
from platform_core.errors import InvalidInput

_EPOCH = "COALESCE((SELECT max(value) FROM events_feedepoch), 1)"

_APPEND = f"""
    INSERT INTO events_event (epoch, txid, type, subject, data, time, request_id, traceparent)
    SELECT {_EPOCH}, pg_current_xact_id()::text::bigint, e.type, e.subject, e.data::jsonb, clock_timestamp(), %s, %s
    FROM unnest(%s::text[], %s::text[], %s::text[]) WITH ORDINALITY AS e (type, subject, data, n) ORDER BY e.n
"""

_READ = f"""
    WITH horizon AS (SELECT {_EPOCH} AS epoch, pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin)
    SELECT h.above, e.*
    FROM (
        SELECT epoch, xmin, EXISTS (
            SELECT FROM events_event a WHERE a.epoch = horizon.epoch AND a.txid >= horizon.xmin
        ) AS above
        FROM horizon
    ) AS h LEFT JOIN LATERAL (
        SELECT epoch, txid, id, type, subject, data::text, time
        FROM events_event
        WHERE (epoch, txid, id) > (%s, %s, %s) AND (epoch, txid) < (h.epoch, h.xmin)
        ORDER BY epoch, txid, id LIMIT %s
    ) AS e ON true ORDER BY e.epoch, e.txid, e.id
"""


class NewEvent(NamedTuple):
    type: str
    subject: int
    data: Mapping[str, Any]


class Position(NamedTuple):
    """A place in a feed; as text, an event's id."""

    epoch: int = 0
    txid: int = 0
    sequence: int = 0

    def __str__(self) -> str:
        return f"{self.epoch}-{self.txid}-{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Raises InvalidInput when ``text`` is not an event's id."""
        if not re.fullmatch(r"[0-9]{1,9}-[0-9]{1,18}-[0-9]{1,18}", text, re.ASCII):
            raise InvalidInput.field("lastEventId", "Expected the id of an event of this feed.")
        return cls(*(int(part) for part in text.split("-")))


@dataclass(frozen=True, slots=True)
class Batch:
    """``pending``: rows are committed that cannot be shown yet, because an older transaction is still open."""

    events: list[dict[str, Any]]
    pending: bool


def append(*events: NewEvent) -> None:
    """Record what the surrounding transaction does; one statement however many."""
    ctx = context.current()
    types = [event.type for event in events]
    subjects = [str(event.subject) for event in events]
    data = [encode(event.data).decode() for event in events]
    with connection.cursor() as cursor:
        cursor.execute(_APPEND, [ctx.request_id, ctx.traceparent, types, subjects, data])


def place() -> tuple[int, int]:
    """Where the surrounding transaction stands in the feed, for who appends by other means: epoch, transaction id."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {_EPOCH}, pg_current_xact_id()::text::bigint")
        epoch, txid = cursor.fetchone()
    return epoch, txid


def read(after: Position, limit: int) -> Batch:
    """Events behind ``after``, oldest first, as CloudEvents 1.0; one query."""
    with connection.cursor() as cursor:
        cursor.execute(_READ, [*after, limit])
        rows = cursor.fetchall()
    found = [_cloud_event(*row[1:]) for row in rows if row[1] is not None]
    return Batch(found, pending=rows[0][0])


def _cloud_event(
    epoch: int, txid: int, sequence: int, type: str, subject: str, data: str, time: datetime
) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": str(Position(epoch, txid, sequence)),
        "type": type,
        "source": settings.SERVICE.name,
        "subject": subject,
        "time": time,
        "datacontenttype": "application/json",
        "data": msgspec.Raw(data.encode()),
    }
