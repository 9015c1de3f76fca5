"""``GET /api/events``: the feed's own statement, and the columns that appending one takes."""

import re
from collections.abc import Callable
from datetime import datetime

import msgspec

from benchmarks.contenders.limit.database import execute
from benchmarks.contenders.limit.wire import Answer, Environ, Refused, encode, query_of

EPOCH = "COALESCE((SELECT max(value) FROM events_feedepoch), 1)"
COLUMNS = "epoch, txid, type, subject, data, time, request_id, traceparent"
PLACE = f"{EPOCH}, pg_current_xact_id()::text::bigint"

_READ = f"""
    WITH horizon AS (SELECT {EPOCH} AS epoch, pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin)
    SELECT h.epoch, h.xmin, h.hidden, s.epoch, s.txid, s.sequence, e.*
    FROM (
        SELECT epoch, xmin, (
            SELECT extract(epoch FROM clock_timestamp() - a.time)::float8 FROM events_event a
            WHERE a.epoch = horizon.epoch AND a.txid >= horizon.xmin ORDER BY a.epoch, a.txid, a.id LIMIT 1
        ) AS hidden
        FROM horizon
    ) AS h
    LEFT JOIN events_feedstart s ON true
    LEFT JOIN LATERAL (
        SELECT epoch, txid, id, type, subject, data::text, time
        FROM events_event
        WHERE (epoch, txid, id) > (%(epoch)s, %(txid)s, %(sequence)s) AND (epoch, txid) < (h.epoch, h.xmin)
        ORDER BY epoch, txid, id LIMIT %(limit)s
    ) AS e ON true ORDER BY e.epoch, e.txid, e.id
"""


class CloudEvent(msgspec.Struct):
    id: str
    type: str
    subject: str
    data: msgspec.Raw
    time: datetime
    source: str
    specversion: str = "1.0"
    datacontenttype: str = "application/json"


def feed_of(service: str) -> Callable[[Environ, str], Answer]:
    source = f"{service}-service"

    def read(environ: Environ, name: str) -> Answer:
        query = query_of(environ)
        after = query.get("lastEventId", "0-0-0")
        if not re.fullmatch("[0-9]{1,9}-[0-9]{1,18}-[0-9]{1,18}", after):
            raise ValueError("lastEventId: expected the id of an event of this feed.")
        position = tuple(int(part) for part in after.split("-"))
        limit = min(int(query.get("limit", 100)), 1000)
        places = dict(zip(("epoch", "txid", "sequence"), position, strict=True))
        rows = execute(_READ, {**places, "limit": limit}).fetchall()
        epoch, xmin, hidden, *start = rows[0][:6]
        if start[0] is not None and "lastEventId" in query and position < tuple(start):
            raise Refused(410, "events_expired")
        headers = [("Feed-Position", f"{epoch}-{xmin - 1}-{10**18 - 1}")]
        if hidden is not None:
            headers.append(("Feed-Pending", "true"))
        events = [_event(source, *row[6:]) for row in rows if row[6] is not None]
        return Answer(200, encode(events), tuple(headers), "application/cloudevents-batch+json")

    return read


def _event(
    source: str, epoch: int, txid: int, sequence: int, kind: str, subject: str, data: str, time: datetime
) -> CloudEvent:
    return CloudEvent(f"{epoch}-{txid}-{sequence}", kind, subject, msgspec.Raw(data.encode()), time, source)
