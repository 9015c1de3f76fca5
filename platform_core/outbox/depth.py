"""Counts the messages in the outbox, for `/health` and the metrics.

Those to webhooks are left out, because whether they can be delivered depends on others.
"""

from typing import NamedTuple

from django.db import connection

from platform_core.vocabulary import MessageKind

REFUSED = "CallerRefused:"
"""How the stored error of a message begins whose sender was refused as a caller."""
DEPTH_BOUND = 1000
"""Messages are counted up to this number, so that the cost of counting stays bounded."""

_UNSETTLED = f"""
    FROM outbox_outboxmessage WHERE state = %s AND kind <> '{MessageKind.WEBHOOK_DELIVER}' ORDER BY id LIMIT
"""
_REFUSAL = f"""
    SELECT last_error FROM outbox_outboxmessage
    WHERE state = 'pending' AND last_error LIKE '{REFUSED}%%' ORDER BY id LIMIT 1
"""
_DEPTH = f"""
    SELECT
        (SELECT count(*) FROM (SELECT id {_UNSETTLED} {DEPTH_BOUND}) AS waiting),
        (SELECT extract(epoch FROM clock_timestamp() - created_at)::float {_UNSETTLED} 1),
        (SELECT count(*) FROM (SELECT id {_UNSETTLED} {DEPTH_BOUND}) AS given_up),
        ({_REFUSAL})
"""


class Depth(NamedTuple):
    """``pending`` and ``dead`` are counted up to `DEPTH_BOUND`; ``oldest_seconds`` is None if no message waits.

    ``refusal`` says which service refuses this one as a caller, so that messages wait; None if none does.
    """

    pending: int
    oldest_seconds: float | None
    dead: int
    refusal: str | None


def depth() -> Depth:
    """Count undelivered messages in one query, without those to webhooks.

    A partial index makes the cost independent of all others.
    """
    with connection.cursor() as cursor:
        cursor.execute(_DEPTH, ["pending", "pending", "dead"])
        pending, oldest, dead, refusal = cursor.fetchone()
    seconds = None if oldest is None else round(max(0.0, oldest), 1)
    return Depth(pending, seconds, dead, refusal and refusal.removeprefix(REFUSED).partition(" (")[0].strip())
