"""What the platform asks of every database connection: deadlines, no dead sockets, a schema to migrate into."""

import select
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, cast

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
from psycopg.pq import TransactionStatus

from platform_core.http import context
from platform_core.http.context import DEFAULT_DEADLINE
from platform_core.observability import tracing

_TIMEOUT_STEPS_MS = (25, 50, 100, 200, 300, 500, 750, 1000, 1500, 2000, 3000, 4000, 5000, 7500, 10000, 15000, 20000)
_UNHURRIED_MS = int(DEFAULT_DEADLINE * 1000)
_UNKNOWN = -1
_CACHE_WITHOUT_CONNECTIONS = "django.core.cache.backends.locmem.LocMemCache"


class _PreparedCursor(ServerBindingCursor):
    """Django's own cursors put the values into the text, so that Postgres has to parse and plan each of them anew."""

    prepare = True

    def execute(self, query: Any, params: Any = None, **kwargs: Any) -> Any:
        return super().execute(query, params, prepare=self.prepare)  # type: ignore[misc]


class _PlannedCursor(_PreparedCursor):
    prepare = False


def prepared(statement: str, params: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """The rows that a statement of the hot path returns. Postgres plans it once for each connection.

    It is bounded, logged and counted like all others. The types of values that Postgres cannot tell from where they
    stand are for the statement to say: ``%s::bigint[]``.
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
        with database._prepare_cursor(kind(database.connection)) as cursor:  # type: ignore[attr-defined,call-arg]
            cursor.execute(statement, params)
            return _rows(cursor)
    before = cast("_StatementBound", database.execute_wrappers[0])
    with database.wrap_database_errors:
        before.bound()
        cursor = before.cursors[kind]
        cursor.execute(statement, params)
        return _rows(cursor)


def prepared_atomic(statement: str, params: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """`prepared`, for a use case that is this one statement.

    It is a transaction by itself. Inside an open transaction it gets a savepoint, so that the caller can handle a
    constraint's IntegrityError and go on; outside of one, BEGIN and COMMIT would be two round trips more.
    """
    if not connections[DEFAULT_DB_ALIAS].in_atomic_block:
        return prepared(statement, params)
    with transaction.atomic():
        return prepared(statement, params)


def violated_constraint(error: DatabaseError) -> str | None:
    """The name of the constraint that a statement has violated, if that is what the error is about."""
    return getattr(getattr(error.__cause__, "diag", None), "constraint_name", None)


def array(values: Iterable[int | Decimal | str]) -> str:
    """What ``%s::bigint[]`` and its like take for a list. psycopg looks at each value thrice to make the same."""
    return "{" + ",".join(_quoted(value) if isinstance(value, str) else str(value) for value in values) + "}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


def _rows(cursor: Any) -> list[tuple[Any, ...]]:
    return cursor.fetchall() if cursor.pgresult.nfields else []


def connect_signals() -> None:
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

    An idle connection has nothing to read; a dead one has. This costs one system call, 3 % of a read. Django's
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
    """Before each statement: refuse when the request's deadline is over, else bound the statement by what is left.

    The bound is a session setting that changes only when the time left falls under another step, so that requests
    with the usual deadline pay no extra round trip.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.cursors = {kind: kind(connection.connection) for kind in (_PreparedCursor, _PlannedCursor)}  # type: ignore[call-arg]
        self.present_ms = _UNHURRIED_MS
        self.set_inside = False

    def __call__(
        self, execute: Callable[..., Any], statement: str, params: Any, many: bool, ctx: dict[str, Any]
    ) -> Any:
        if statement.startswith("ROLLBACK TO"):
            self.present_ms = _UNKNOWN  # it takes a SET back as well
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
    """The step below what is left; the usual one for the usual deadline."""
    if left is None:
        return _UNHURRIED_MS
    step = max((step for step in _TIMEOUT_STEPS_MS if step <= left * 1000), default=_TIMEOUT_STEPS_MS[0])
    return _UNHURRIED_MS if _UNHURRIED_MS * 0.8 <= step <= _UNHURRIED_MS else step


def _make_schema(app_config: AppConfig, using: str, **_: Any) -> None:
    """The role's schema must stand before the first table: the default search_path finds it by the role's name."""
    if app_config.label != "platform_core":
        return
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = current_user")
        if cursor.fetchone() is None:
            cursor.execute(f"CREATE SCHEMA {connection.ops.quote_name(connection.settings_dict['USER'])}")
