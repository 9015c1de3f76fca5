"""Finds out whether a platform has ever been used. Its sequences show that even after all rows have been deleted."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg

from platform_core.conf.environment import database_parts
from platform_core.db.waiting import open_connection
from platform_core.topology import SERVICES, Service

EVENTS, LOCAL_ACCOUNTS = "events_event_id_seq", "auth_user_id_seq"


def was_used(connection: psycopg.Connection[Any], sequences: Sequence[str] = (EVENTS, LOCAL_ACCOUNTS)) -> bool:
    """Whether a service has ever taken a number from one of these sequences in this database."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_sequences WHERE schemaname = ANY(%s) AND sequencename = ANY(%s)"
        " AND last_value IS NOT NULL)",
        [[service.role for service in SERVICES], list(sequences)],
    ).fetchone()
    return bool(row and row[0])


def has_data(values: Mapping[str, Any]) -> bool:
    """Whether any service has ever written an event. True if a database does not answer, since it may not be empty."""
    with suppress(psycopg.Error):
        return any(_has_events(service, values) for service in SERVICES if service.has_feed)
    return True


def _has_events(service: Service, values: Mapping[str, Any]) -> bool:
    with open_connection(**(database_parts(service, values) or {})) as connection:
        return was_used(connection, (EVENTS,))
