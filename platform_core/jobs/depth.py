"""Counts unfinished jobs, for the metrics. It stands apart because `observability` imports it without the models."""

from typing import NamedTuple

from django.db import connection

_UNFINISHED = """
    SELECT count(*), extract(epoch FROM clock_timestamp() - min(created_at))::float
    FROM jobs_job WHERE state IN ('waiting', 'running', 'stopping')
"""


class Unfinished(NamedTuple):
    """The ``number`` of jobs, at most `queue.MOST_WAITING`; ``oldest_seconds`` is None if there is none."""

    number: int
    oldest_seconds: float | None


def unfinished() -> Unfinished:
    """Count the jobs that have not finished, without drafts."""
    with connection.cursor() as cursor:
        cursor.execute(_UNFINISHED)
        number, oldest = cursor.fetchone()
    return Unfinished(number, None if oldest is None else round(max(0.0, oldest), 1))
