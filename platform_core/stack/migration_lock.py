"""One migration at a time: the lock of `manage.py migrate` and `manage.py up`."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import psycopg

from platform_core.conf.environment import direct_parts, owner_url
from platform_core.db.waiting import open_connection
from platform_core.stack.roles import RolesError, ensure_database
from platform_core.topology import SERVICES

WAIT_SECONDS = 540
"""Shorter than a wait of the connection may be, so that Postgres ends it and the message says why."""
_LOCK = 7_202_611_24


@contextmanager
def only_migration(values: Mapping[str, Any]) -> Iterator[None]:
    """Hold the lock, after waiting for another migration to end. Raises RolesError after `WAIT_SECONDS`.

    The lock is an advisory lock in the database of DATABASE_URL, or else of the first service. It belongs to a
    transaction, because behind a pooler a session is not one's own.
    """
    url = owner_url(values)
    try:
        if url:
            ensure_database(url)
        parts = {} if url else direct_parts(SERVICES[0], values) or {}
        connection = open_connection(url or "", **parts)
    except psycopg.OperationalError as error:
        server = "The server of DATABASE_URL" if url else f"The database of {SERVICES[0].name}"
        raise RolesError(f"{server} does not answer: {str(error).strip()}") from None
    except psycopg.errors.InsufficientPrivilege as error:
        raise RolesError(f"The user of DATABASE_URL may not create databases: {str(error).strip()}") from None
    with closing(connection):
        _acquire(connection)
        yield


def _acquire(connection: psycopg.Connection[Any]) -> None:
    try:
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        connection.execute(f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'".encode())
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
    except psycopg.errors.LockNotAvailable:
        raise RolesError(f"Another migration has been running for {WAIT_SECONDS} s: wait for its end.") from None
