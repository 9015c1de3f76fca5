"""Who reads the feed: a name in the ``Feed-Consumer`` header, and the position that it has acknowledged.

A consumer asks for what follows ``lastEventId``, and so says that it has everything up to there. That is written
rarely: retention thinks in days, and a poll should cost no write.
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
"""So many names are remembered; one more is refused, for each holds events back."""

_NOTE = """
    INSERT INTO events_feedconsumer (name, epoch, txid, sequence, seen_at)
    SELECT %(name)s, %(epoch)s, %(txid)s, %(sequence)s, clock_timestamp()
    WHERE %(known)s OR (SELECT count(*) FROM events_feedconsumer) < %(most)s
    ON CONFLICT (name) DO UPDATE SET
        epoch = excluded.epoch, txid = excluded.txid, sequence = excluded.sequence, seen_at = excluded.seen_at
"""


def consumer_of(request: Request) -> str:
    """The consumer's name, empty when it gives none. Raises InvalidInput, Forbidden."""
    name = request.headers.get(HEADER)
    if name is None:
        return ""
    if not re.fullmatch(r"[a-z0-9-]{1,64}", name, re.ASCII):
        raise InvalidInput.field(HEADER, "Expected 1 to 64 of a-z, 0-9 and -.")
    caller = caller_of(request)
    if caller.kind is Kind.SERVICE and name != caller.subject:
        raise Forbidden(f"{HEADER}: a service reads under its own name.")
    return name


def acknowledge(name: str, position: Position, known: tuple[Position, float] | None) -> None:
    """Remember that ``name`` has everything up to ``position``, if that is worth a write.

    ``known``: the position that is remembered, and for how many seconds.

    A consumer that goes back is noted at once: from now on it needs what lies behind the earlier position.
    Raises Conflict when there are too many.
    """
    if known is not None and not _is_news(position, *known):
        return
    values = {"name": name, **position._asdict(), "known": known is not None, "most": AT_MOST}
    with connection.cursor() as cursor:
        cursor.execute(_NOTE, values)
        if not cursor.rowcount:
            raise _too_many()


def _too_many() -> Conflict:
    detail = f"The feed has {AT_MOST} consumers already; staff can make it forget one in the admin."
    return Conflict(detail, code="too_many_consumers")


def _is_news(position: Position, noted: Position, age: float) -> bool:
    return position < noted or age >= (NOTED_EVERY if position > noted else SEEN_EVERY)
