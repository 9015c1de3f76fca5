"""``manage.py new_epoch``: must run after a restore into another server.

Feeds order by (epoch, transaction id, sequence), and another server counts transactions from the start. Without a new
epoch, new events would lie before the positions of the consumers, which would never see them.
"""

from collections.abc import Mapping
from typing import Any

import psycopg

from platform_core.conf.environment import database_parts
from platform_core.stack.supervisor import StackError
from platform_core.topology import SERVICES, Service

_RAISE = """
    INSERT INTO {0}.events_feedepoch (value)
    SELECT coalesce(max(value), 1) + 1 FROM {0}.events_feedepoch RETURNING value
"""
_AT_WORK = "SELECT count(*) FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid()"


def raise_epochs(values: Mapping[str, Any]) -> dict[str, int]:
    """The new epoch of each feed, by the service's name. None is raised while a service is at work: an event of the old
    epoch that commits after one of the new is seen by nobody. Raises StackError.
    """
    owners = [service for service in SERVICES if service.has_feed]
    for service in owners:
        if _ask(service, values, _AT_WORK):
            raise StackError(f"{service.name} is connected to its database: stop the platform first.")
    return {service.name: _ask(service, values, _RAISE.format(service.role)) for service in owners}


def raise_epochs_here(connection: psycopg.Connection[Any]) -> None:
    """Raise the epochs of all feeds in one database, as its administrator. Raises psycopg.errors.UndefinedTable."""
    for service in SERVICES:
        if service.has_feed:
            connection.execute(_RAISE.format(service.role).encode())


def _ask(service: Service, values: Mapping[str, Any], query: str) -> int:
    try:
        with psycopg.connect(**(database_parts(service, values) or {}), connect_timeout=5) as connection:
            row = connection.execute(query.encode()).fetchone()
    except psycopg.errors.UndefinedTable:
        raise StackError(f"{service.name} has no feed yet: restore the dump first.") from None
    except psycopg.OperationalError as error:
        raise StackError(f"The database of {service.name} does not answer: {str(error).strip()}") from None
    assert row is not None
    return int(row[0])
