"""Compares the connections that the platform may open with those that Postgres allows, and looks for limits."""

import logging
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg

from platform_core.conf.environment import database_parts, direct_parts
from platform_core.db.waiting import open_connection
from platform_core.topology import SERVICES, Service

RESERVE = 3
"""For commands such as `verify` and `backup`, and for people."""
_LIMIT = """
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
    - coalesce(current_setting('reserved_connections', true), '0')::int
"""
log = logging.getLogger("platform.database")


def web_connections(values: Mapping[str, Any]) -> int:
    """The most that one web opens: one for each thread, and in each process one to ask a silent Postgres."""
    return int(values["WEB_CONCURRENCY"]) * (int(values["WEB_THREADS"]) + 1)


def worker_connections(service: Service, values: Mapping[str, Any]) -> int:
    """The most that one worker opens: one for each duty and delivery, and one to ask a silent Postgres."""
    deliveries = service.lanes * int(values["OUTBOX_CONCURRENCY"])
    return service.duties + 1 + deliveries if service.has_worker else 0


def connections_of(service: Service, values: Mapping[str, Any]) -> int:
    """The most that one web and, if the service has one, one worker open."""
    return web_connections(values) + worker_connections(service, values)


def platform_connections(values: Mapping[str, Any], *, webs: int, workers: int) -> int:
    """The most that the whole platform opens with this many webs and workers of each service, and RESERVE."""
    of_webs = len(SERVICES) * webs * web_connections(values)
    of_workers = workers * sum(worker_connections(service, values) for service in SERVICES)
    return of_webs + of_workers + RESERVE


def connections_under_up(values: Mapping[str, Any]) -> int:
    """The most that `manage.py up` opens on one server: the threads of a web that replaces another are among them."""
    return platform_connections(values, webs=1, workers=1) + _of_a_restart(values)


def _of_a_restart(values: Mapping[str, Any]) -> int:
    return int(values["WEB_CONCURRENCY"]) * int(values["WEB_THREADS"])


def shortages(values: Mapping[str, Any]) -> list[str]:
    """One line for each Postgres server that allows fewer connections than its services need; they say what to do.

    The need is that of one web and one worker of each service, of the threads of one more web while a service is
    restarted, and RESERVE. A server that does not answer is left out: what comes next reports it. So is a service that
    goes through a pooler, which has its own limit.
    """
    servers: dict[tuple[str, str], list[Service]] = defaultdict(list)
    for service in SERVICES:
        parts = database_parts(service, values) or {}
        if _is_pooled(service, values):
            continue
        servers[str(parts.get("host") or "localhost"), str(parts.get("port") or 5432)].append(service)
    found = []
    for (host, port), services in servers.items():
        limit = _limit(database_parts(services[0], values) or {})
        needed = sum(connections_of(service, values) for service in services) + _of_a_restart(values) + RESERVE
        if limit is not None and needed > limit:
            found.append(_shortage(f"{host}:{port}", needed, limit, services, values))
    return found


def _is_pooled(service: Service, values: Mapping[str, Any]) -> bool:
    return database_parts(service, values) != direct_parts(service, values)


def _shortage(server: str, needed: int, limit: int, services: Sequence[Service], values: Mapping[str, Any]) -> str:
    names = "the services need" if len(services) == len(SERVICES) else f"{', '.join(s.name for s in services)} need"
    return (
        f"The Postgres server {server} allows {limit} connections, but {names} up to {needed}: raise its "
        f"max_connections by {needed - limit}, or lower WEB_CONCURRENCY ({values['WEB_CONCURRENCY']}), WEB_THREADS "
        f"({values['WEB_THREADS']}) or OUTBOX_CONCURRENCY ({values['OUTBOX_CONCURRENCY']})."
    )


def _limit(parts: Mapping[str, Any]) -> int | None:
    """How many connections ordinary users of a server may open together; None if it does not answer."""
    with suppress(psycopg.Error), open_connection(**parts) as connection:
        row = connection.execute(f"SELECT {_LIMIT}").fetchone()
        return int(row[0]) if row else None
    return None


def warn_when_short(service: Service, values: Mapping[str, Any]) -> None:
    """Log a warning if Postgres has too few free connections for this service, or if its role has no limits.

    Returns at once: a thread looks.
    """
    parts = direct_parts(service, values) or {}
    needed = 0 if _is_pooled(service, values) else connections_of(service, values)
    arguments = (service.role, needed, parts)
    threading.Thread(target=_warn_when_short, args=arguments, name="capacity", daemon=True).start()


def _warn_when_short(role: str, needed: int, parts: Mapping[str, Any]) -> None:
    with suppress(psycopg.Error), open_connection(**parts) as connection:
        row = connection.execute(
            f"SELECT {_LIMIT}, (SELECT count(*) FROM pg_stat_activity WHERE usename <> %s), "
            "current_setting('statement_timeout') = '0'",
            [role],
        ).fetchone()
        limit, others, is_unlimited = row or (needed, 0, False)
        if is_unlimited:
            detail = (
                "Postgres does not limit the statements of this service: run `manage.py migrate`, which sets limits."
            )
            log.warning("database.limits_missing", extra={"data": {"detail": detail}})
        if needed > limit - others:
            detail = (
                f"One web and one worker of this service open up to {needed} database connections, but Postgres allows "
                f"{limit}, and others use {others} of them. Raise max_connections, or lower WEB_CONCURRENCY or "
                "WEB_THREADS."
            )
            log.warning(
                "database.connections_short",
                extra={"data": {"needed": needed, "limit": limit, "used": others, "detail": detail}},
            )
