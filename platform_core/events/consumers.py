"""The known consumers of a feed, and the position that each has acknowledged.

A consumer sends its name in the ``Feed-Consumer`` header. Requesting the events after ``lastEventId`` acknowledges all
events up to it. The position is stored at most every few seconds, so that most polls cost no write: retention counts
in days.
"""

import re

from django.db import connection
from rest_framework.request import Request

from platform_core.auth.access import caller_of
from platform_core.auth.identity import Kind
from platform_core.events.log import Position
from platform_core.http.errors import Conflict, Forbidden, InvalidInput

HEADER = "Feed-Consumer"
NOTED_EVERY = 10.0
SEEN_EVERY = 3600.0
AT_MOST = 100
"""The maximum number of consumers. More are refused, because each can delay the deletion of events."""

_NOTE = """
    INSERT INTO events_feedconsumer (name, epoch, txid, sequence, seen_at)
    SELECT %(name)s, %(epoch)s, %(txid)s, %(sequence)s, clock_timestamp()
    WHERE %(known)s OR (SELECT count(*) FROM events_feedconsumer) < %(most)s
    ON CONFLICT (name) DO UPDATE SET
        epoch = excluded.epoch, txid = excluded.txid, sequence = excluded.sequence, seen_at = excluded.seen_at
"""


def consumer_of(request: Request) -> str:
    """The consumer's name from the header, empty without one. Raises InvalidInput, Forbidden."""
    name = request.headers.get(HEADER)
    if name is None:
        return ""
    if not re.fullmatch(r"[a-z0-9-]{1,64}", name, re.ASCII):
        raise InvalidInput.field(HEADER, "Expected 1 to 64 of a-z, 0-9 and -.")
    caller = caller_of(request)
    if caller.kind is Kind.SERVICE and name != caller.subject:
        raise Forbidden(f"{HEADER}: a service must use its own name.")
    return name


def acknowledge(name: str, position: Position, known: tuple[Position, float] | None) -> None:
    """Store that consumer ``name`` has read all events up to ``position``, unless the stored value is recent enough.

    ``known`` is the stored position and its age in seconds. A position before the stored one is always stored at once,
    because the consumer needs the events after it again. Raises Conflict if there are too many consumers.
    """
    if known is not None and not _is_news(position, *known):
        return
    values = {"name": name, **position._asdict(), "known": known is not None, "most": AT_MOST}
    with connection.cursor() as cursor:
        cursor.execute(_NOTE, values)
        if not cursor.rowcount:
            raise _too_many()


def _too_many() -> Conflict:
    detail = f"The feed has {AT_MOST} consumers already; staff can remove one in the admin."
    return Conflict(detail, code="too_many_consumers")


def _is_news(position: Position, noted: Position, age: float) -> bool:
    return position < noted or age >= (NOTED_EVERY if position > noted else SEEN_EVERY)
