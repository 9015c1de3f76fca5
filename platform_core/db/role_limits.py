"""The limits of a service's sessions that Postgres enforces.

They are settings of the role, so they hold behind any pooler.

A wait ends on this side of the connection first (`platform_core.db.bounds`). These limits end what a client that has
given up, or is gone, has left behind in the server.
"""

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

from platform_core.http.context import MAX_DEADLINE

LIMITS: Mapping[str, str] = {
    # Longer than any request may take.
    "statement_timeout": f"{MAX_DEADLINE * 1000 + 1000:.0f}",
    "idle_in_transaction_session_timeout": "15000",
    # How soon Postgres notices that the client has closed its connection, and ends the statement.
    "client_connection_check_interval": "1000",
    # Postgres closes the connections of a host that has vanished without a word after 25 s. The kernel's default is two
    # hours, and meanwhile they hold their places and their locks.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "25000",
    "TimeZone": "UTC",
}
"""Values by names, in the units of ``pg_settings``: milliseconds; of ``tcp_keepalives_…`` seconds and a number."""
_DIFFERING = """
    SELECT role.rolsuper, array(
        SELECT name FROM unnest(%s::text[], %s::text[]) AS wanted (name, value) JOIN pg_settings USING (name)
        WHERE reset_val <> value
    )
    FROM pg_roles role WHERE role.rolname = current_user
"""


def set_limits(connection: psycopg.Connection[Any], role: str) -> None:
    """Make `LIMITS` the settings of a role. They hold for sessions that begin afterwards. Raises psycopg.Error."""
    for statement in _statements(role):
        connection.execute(statement)


def set_own_limits(connection: psycopg.Connection[Any]) -> str | None:
    """Make `LIMITS` the settings of the connection's role, where they differ.

    Returns None, or, if that was not allowed, what an owner of the server has to run. A superuser's settings are not
    changed: other people may use it. The connection must not be in a transaction. Raises psycopg.Error.
    """
    found = connection.execute(_DIFFERING, [list(LIMITS), list(LIMITS.values())]).fetchone()
    is_superuser, differing = found or (False, list(LIMITS))
    if not differing:
        return None
    role = connection.info.user
    if not is_superuser:
        try:
            with connection.transaction():
                set_limits(connection, role)
            return None
        except psycopg.errors.InsufficientPrivilege:
            pass
    return " ".join(statement.as_string(connection) + ";" for statement in _statements(role))


def _statements(role: str) -> list[sql.Composed]:
    return [
        sql.SQL("ALTER ROLE {} SET {} = {}").format(sql.Identifier(role), sql.Identifier(name), sql.Literal(value))
        for name, value in LIMITS.items()
    ]
