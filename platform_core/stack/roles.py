"""Creates the database, and for each service a role and a schema of the same name.

A role owns its schema and has no rights in the others, so Postgres refuses a service that reads another's tables.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from platform_core.conf.environment import database_parts, direct_parts, owner_url
from platform_core.db.role_limits import set_limits, set_own_limits
from platform_core.db.waiting import open_connection
from platform_core.topology import SERVICES, Service

_LOCK = 7_202_611_23


class RolesError(Exception):
    """The roles cannot be created. The message says what to do."""


def ensure_roles(
    values: Mapping[str, Any], *, create_databases: bool = False, only: Sequence[Service] = SERVICES
) -> None:
    """Create what is missing on the server of DATABASE_URL, past a pooler, for the services ``only``.

    ``values`` are those of `environment.parsed`.

    A service may have a database URL of its own. If that URL names the service's role in this same database, the role
    gets the password of the URL. With any other URL the service is skipped. The rights that all roles have on `public`
    are revoked. ``create_databases`` lets the roles create databases, which tests need. Raises RolesError.
    """
    url = owner_url(values)
    services = [service for service in only if url and lives_there(service, values)]
    if not url or not services:
        return
    try:
        ensure_database(url)
        with open_connection(url, autocommit=False) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            for service in services:
                parts = database_parts(service, values) or {}
                _ensure_role(connection, service, parts.get("password"), create_databases)
            connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    except psycopg.errors.InsufficientPrivilege as error:
        raise RolesError(
            f"The user of DATABASE_URL may not create roles and schemas ({str(error).strip()}): give one that may."
        ) from None
    except psycopg.OperationalError as error:
        raise RolesError(f"The server of DATABASE_URL does not answer: {str(error).strip()}") from None


def ensure_limits(values: Mapping[str, Any]) -> list[str]:
    """Set the limits of the roles of services with a database URL of their own, which `ensure_roles` leaves out.

    Returns a line for each service whose role may not set them; it says what an owner has to run. A server that does
    not answer is left out: what comes next reports it.
    """
    found = []
    for service in SERVICES:
        if owner_url(values) and lives_there(service, values):
            continue
        with suppress(psycopg.OperationalError):
            with open_connection(**(direct_parts(service, values) or {}), autocommit=True) as connection:
                statements = set_own_limits(connection)
            if statements:
                found.append(
                    f"The database role of {service.name} may not set the limits of its own sessions. As its owner or "
                    f"an administrator of the server, run: {statements}"
                )
    return found


def lives_there(service: Service, values: Mapping[str, Any]) -> bool:
    """Whether a service's schema is in the database of DATABASE_URL."""
    own, ours = direct_parts(service, values) or {}, conninfo_to_dict(owner_url(values) or "")
    return own.get("user") == service.role and _place(own) == _place(ours)


def _place(parts: Mapping[str, Any]) -> tuple[Any, ...]:
    return parts.get("host"), str(parts.get("port") or 5432), parts.get("dbname")


def ensure_database(url: str) -> None:
    """Create the database of the URL if the server has none of that name. Raises psycopg.Error."""
    name = str(conninfo_to_dict(url)["dbname"])
    with open_connection(make_conninfo(url, dbname="postgres"), autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
        if not found:
            # another process was faster
            with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def _ensure_role(
    connection: psycopg.Connection[Any], service: Service, password: str | None, create_databases: bool
) -> None:
    role = sql.Identifier(service.role)
    exists = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [service.role]).fetchone()
    if not exists:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
    if password:
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, sql.Literal(password)))
    if create_databases:
        connection.execute(sql.SQL("ALTER ROLE {} CREATEDB").format(role))
    set_limits(connection, service.role)
    if not _is_member(connection, service.role):
        connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(role))
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}").format(role, role))


def _is_member(connection: psycopg.Connection[Any], role: str) -> bool:
    row = connection.execute("SELECT pg_has_role(current_user, %s, 'MEMBER')", [role]).fetchone()
    return bool(row and row[0])
