"""Set-up of database connections: deadlines, detection of dead sockets, server-side parameters, the role's schema."""

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
from psycopg import sql
from psycopg.abc import Loader
from psycopg.pq import Format, TransactionStatus

from platform_core.http import context
from platform_core.http.context import DEFAULT_DEADLINE, STATEMENT_SECONDS
from platform_core.observability import tracing

_TIMEOUT_STEPS_MS = (25, 50, 100, 200, 300, 500, 750, 1000, 1500, 2000, 3000, 4000, 5000, 7500, 10000, 15000, 20000)
_USUAL_MS = int(STATEMENT_SECONDS * 1000)
_UNKNOWN = -1
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
    before = cast("_StatementBound", database.execute_wrappers[0])
    with database.wrap_database_errors:
        before.bound()
        cursor = before.cursors[kind]
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
    connection_created.connect(_bound_statements, dispatch_uid="platform.bound_statements")
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
    """Close the thread's connection if it had errors, or if the server went away while it was idle.

    An idle connection has nothing to read; a closed one has. The check is one system call, 3 % of a read. Django's
    `CONN_HEALTH_CHECKS` costs a round trip for each request: 28 % of a read's CPU, and the wait.
    """
    database = connections[DEFAULT_DB_ALIAS]
    raw = database.connection
    if raw is None or database.in_atomic_block:
        return
    if raw.closed or _is_readable(raw.fileno()):
        database.close()
    elif database.errors_occurred or not database.autocommit:
        database.close_if_unusable_or_obsolete()


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _bound_statements(connection: BaseDatabaseWrapper, **_: Any) -> None:
    connection.execute_wrappers[:] = [_StatementBound(connection)]


class _StatementBound:
    """Runs before each statement: refuses it after the request's deadline, otherwise limits it to the time left.

    The limit is a session setting. It changes only when the time left falls below the next step, so that requests
    with the usual deadline pay no extra round trip.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.cursors = {kind: kind(connection.connection) for kind in (_PreparedCursor, _PlannedCursor)}
        self.present_ms = _USUAL_MS
        self.set_inside = False

    def __call__(
        self, execute: Callable[..., Any], statement: str, params: Any, many: bool, ctx: dict[str, Any]
    ) -> Any:
        if statement.startswith("ROLLBACK TO"):
            self.present_ms = _UNKNOWN  # a rollback also undoes a SET
        elif self.connection.connection.pgconn.transaction_status != TransactionStatus.INERROR:
            self.bound()
        if not tracing.is_on():
            return execute(statement, params, many, ctx)
        with tracing.statement(statement):
            return execute(statement, params, many, ctx)

    def bound(self) -> None:
        """Raises DeadlineExceeded."""
        raw = self.connection.connection
        if self.set_inside and raw.pgconn.transaction_status == TransactionStatus.IDLE:
            self.present_ms, self.set_inside = _UNKNOWN, False  # the transaction of the SET may have been rolled back
        wanted = _milliseconds(context.remaining())
        if wanted != self.present_ms:
            with self.connection.wrap_database_errors, raw.cursor() as cursor:
                cursor.execute(sql.SQL("SET statement_timeout = {}").format(wanted))
            self.present_ms, self.set_inside = wanted, not raw.autocommit


def _milliseconds(left: float | None) -> int:
    """Nine tenths of the time left, rounded down to a step; the usual value for the usual deadline."""
    if left is None:
        return _USUAL_MS
    if _USUAL_MS <= left * 1000 <= DEFAULT_DEADLINE * 1000:
        return _USUAL_MS
    return max((step for step in _TIMEOUT_STEPS_MS if step <= left * 900), default=_TIMEOUT_STEPS_MS[0])


def _make_schema(app_config: AppConfig, using: str, **_: Any) -> None:
    """Create the role's schema before the first table. The default search_path finds it by the role's name."""
    if app_config.label != "platform_core":
        return
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = current_user")
        if cursor.fetchone() is None:
            cursor.execute(f"CREATE SCHEMA {connection.ops.quote_name(connection.settings_dict['USER'])}")
