"""``manage.py new_epoch``: must run after a restore into another server.

Feeds are ordered by (epoch, transaction id, sequence), and the other server has lower transaction ids. Without a new
epoch, consumers would never see new events, because these would come before the positions that they have reached.
"""

from collections.abc import Mapping
from typing import Any

import psycopg

from platform_core.conf.environment import database_parts
from platform_core.db.waiting import open_connection
from platform_core.stack.supervisor import StackError
from platform_core.topology import SERVICES, Service

_RAISE = """
    INSERT INTO {0}.events_feedepoch (value)
    SELECT coalesce(max(value), 1) + 1 FROM {0}.events_feedepoch RETURNING value
"""
_OTHER_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid()"


def raise_epochs(values: Mapping[str, Any]) -> dict[str, int]:
    """Raise the epochs of all feeds. Returns the new ones by the names of the services.

    Raises StackError if a service is connected to its database. It could still commit an event of the old epoch, which
    no consumer would see after an event of the new epoch.
    """
    owners = [service for service in SERVICES if service.has_feed]
    for service in owners:
        if _ask(service, values, _OTHER_CONNECTIONS):
            raise StackError(f"{service.name} is connected to its database: stop the platform first.")
    return {service.name: _ask(service, values, _RAISE.format(service.role)) for service in owners}


def raise_epochs_here(connection: psycopg.Connection[Any]) -> None:
    """Raise the epochs of all feeds through a connection of the administrator. Raises psycopg.errors.UndefinedTable."""
    for service in SERVICES:
        if service.has_feed:
            connection.execute(_RAISE.format(service.role).encode())


def _ask(service: Service, values: Mapping[str, Any], query: str) -> int:
    try:
        with open_connection(**(database_parts(service, values) or {})) as connection:
            row = connection.execute(query.encode()).fetchone()
    except psycopg.errors.UndefinedTable:
        raise StackError(f"{service.name} has no feed yet: restore the dump first.") from None
    except psycopg.OperationalError as error:
        raise StackError(f"The database of {service.name} does not answer: {str(error).strip()}") from None
    assert row is not None
    return int(row[0])
