"""Set-up of database connections: deadlines, detection of dead sockets, prepared statements, the role's schema."""

import select
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, cast

import psycopg
from django.apps import AppConfig
from django.conf import settings
from django.core.cache import close_caches
from django.core.signals import request_finished, request_started
from django.db import DEFAULT_DB_ALIAS, DatabaseError, close_old_connections, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.base import ServerBindingCursor
from django.db.backends.signals import connection_created
from django.db.models.signals import pre_migrate
from django.dispatch import Signal
from psycopg.abc import Loader
from psycopg.pq import Format, TransactionStatus

from platform_core.http import context
from platform_core.observability import tracing

_TIMES = cast("type[Loader]", psycopg.adapters.get_loader(psycopg.adapters.types["timestamptz"].oid, Format.TEXT))
_CACHE_WITHOUT_CONNECTIONS = "django.core.cache.backends.locmem.LocMemCache"


class _PreparedCursor(ServerBindingCursor):
    """Sends parameters separately, so that Postgres can reuse a plan. Django's cursors put the values into the SQL.

    It reads times with psycopg's own loader, in the time zone of the connection. Django's loader for that zone calls
    psycopg's slower one, which is written in Python.
    """

    prepare = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.adapters.register_loader("timestamptz", _TIMES)  # type: ignore[attr-defined]  # of psycopg's cursor

    def execute(self, query: Any, params: Any = None, **kwargs: Any) -> Any:
        return super().execute(query, params, prepare=self.prepare)  # type: ignore[misc]


class _PlannedCursor(_PreparedCursor):
    prepare = False


def prepared(statement: str, params: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Run a statement of the hot path and return its rows. Postgres plans it once for each connection.

    The deadline, logs and query counts apply as usual. If Postgres cannot infer a parameter's type, the statement must
    cast it: ``%s::bigint[]``.
    """
    return _rows_of(_PreparedCursor, statement, params)


def planned(statement: str, params: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Like `prepared`, for a statement whose best plan depends on the values: Postgres plans it each time."""
    return _rows_of(_PlannedCursor, statement, params)


def _rows_of(
    kind: type[_PreparedCursor], statement: str, params: Sequence[Any] | Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    database = connections[DEFAULT_DB_ALIAS]
    database.close_if_health_check_failed()
    database.ensure_connection()
    if database.queries_logged or tracing.is_on():
        with database._prepare_cursor(kind(database.connection)) as cursor:  # type: ignore[attr-defined]
            cursor.execute(statement, params)
            return _rows(cursor)
    guard = cast("_StatementGuard", database.execute_wrappers[0])
    context.remaining()
    with database.wrap_database_errors:
        cursor = guard.cursors[kind]
        cursor.execute(statement, params)
        return _rows(cursor)


def prepared_atomic(statement: str, params: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Like `prepared`, for a use case that is a single statement.

    The statement is its own transaction. Inside an open transaction it gets a savepoint, so that the caller can handle
    a constraint's IntegrityError and continue. Outside one it saves the round trips of BEGIN and COMMIT.
    """
    if not connections[DEFAULT_DB_ALIAS].in_atomic_block:
        return prepared(statement, params)
    with transaction.atomic():
        return prepared(statement, params)


def violated_constraint(error: DatabaseError) -> str | None:
    """The name of the violated constraint; None if the error is another one."""
    return getattr(getattr(error.__cause__, "diag", None), "constraint_name", None)


def array(values: Iterable[int | Decimal | str | None]) -> str:
    """The text of a Postgres array, for ``%s::bigint[]``. Faster than psycopg's conversion of lists."""
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: int | Decimal | str | None) -> str:
    if value is None:
        return "NULL"
    if not isinstance(value, str):
        return str(value)
    escaped = value.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


def _rows(cursor: Any) -> list[tuple[Any, ...]]:
    return cursor.fetchall() if cursor.pgresult.nfields else []


def connect_signals() -> None:
    """Register the receivers of Django's signals. Called once, when the app is ready."""
    connection_created.connect(_guard_statements, dispatch_uid="platform.guard_statements")
    request_started.connect(drop_dead_connections, dispatch_uid="platform.drop_dead_connections")
    pre_migrate.connect(_make_schema, dispatch_uid="platform.make_schema")
    for signal, receiver in idle_receivers(settings.DATABASES, settings.CACHES):
        signal.disconnect(receiver)


def idle_receivers(databases: Mapping[str, Any], caches: Mapping[str, Any]) -> list[tuple[Signal, Callable[..., Any]]]:
    """Django's receivers that do nothing with these settings. Together they cost 7 % of a read."""
    found: list[tuple[Signal, Callable[..., Any]]] = []
    only = databases[DEFAULT_DB_ALIAS] if databases.keys() == {DEFAULT_DB_ALIAS} else {}
    if only.get("CONN_MAX_AGE", 0) is None and not only.get("CONN_HEALTH_CHECKS"):
        # No connection is ever too old, and `drop_dead_connections` finds those that are broken.
        found += [(request_started, close_old_connections), (request_finished, close_old_connections)]
    if all(cache["BACKEND"] == _CACHE_WITHOUT_CONNECTIONS for cache in caches.values()):
        found.append((request_finished, close_caches))
    return found


def drop_dead_connections(**_: Any) -> None:
    """Close the thread's connection if it was left within a transaction, or if the server went away while it was idle.

    An idle connection has nothing to read; a closed one has. The check is one system call, 3 % of a read. Django's
    `CONN_HEALTH_CHECKS` costs a round trip for each request: 28 % of a read's CPU, and the wait. After an error, too,
    nothing is asked: no deadline would hold for the answer, because the request has none yet.
    """
    database = connections[DEFAULT_DB_ALIAS]
    raw = database.connection
    if raw is None or database.in_atomic_block:
        return
    is_idle = raw.pgconn.transaction_status == TransactionStatus.IDLE and database.autocommit
    if not is_idle or _is_readable(raw.fileno()):
        database.close()
    else:
        database.errors_occurred = False


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _guard_statements(connection: BaseDatabaseWrapper, **_: Any) -> None:
    connection.execute_wrappers[:] = [_StatementGuard(connection)]


class _StatementGuard:
    """Runs before each statement: refuses it after the request's deadline.

    The wait for the answer ends at the deadline, too (`platform_core.db.bounds`). Postgres does not know the deadline:
    to set it takes a round trip in each transaction, and outside of one it would stay behind in a pooler's session.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.cursors = {kind: kind(connection.connection) for kind in (_PreparedCursor, _PlannedCursor)}

    def __call__(
        self, execute: Callable[..., Any], statement: str, params: Any, many: bool, ctx: dict[str, Any]
    ) -> Any:
        is_cleanup = self.connection.connection.pgconn.transaction_status == TransactionStatus.INERROR
        if not is_cleanup and not statement.startswith("ROLLBACK TO"):
            context.remaining()
        if not tracing.is_on():
            return execute(statement, params, many, ctx)
        with tracing.statement(statement):
            return execute(statement, params, many, ctx)


def _make_schema(app_config: AppConfig, using: str, **_: Any) -> None:
    """Create the role's schema before the first table. The default search_path finds it by the role's name."""
    if app_config.label != "platform_core":
        return
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = current_user")
        if cursor.fetchone() is None:
            cursor.execute(f"CREATE SCHEMA {connection.ops.quote_name(connection.settings_dict['USER'])}")
