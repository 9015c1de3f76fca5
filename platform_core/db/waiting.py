"""A connection to Postgres whose waits have a bound on this side.

`statement_timeout` runs in the server, so it does not help when the server is frozen, cut off, or waits for a standby.
"""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo

_RV = TypeVar("_RV")
_C = TypeVar("_C", bound=psycopg.Connection[Any])
_CONNECT_SECONDS = 10.0
SESSION_OPTIONS = "-c statement_timeout=0 -c idle_in_transaction_session_timeout=0"
"""libpq's ``options`` that lift the limits of the role for one session."""


class Unanswered(psycopg.OperationalError):
    """Postgres did not answer in time. If it was asked to commit, the outcome is unknown."""


class Pooled(psycopg.OperationalError):
    """A session of its own is needed, but there is a pooler in between."""

    def __init__(self) -> None:
        super().__init__(
            "There is a pooler in front of this database, and this command needs a session of its own: set DIRECT_URL, "
            "or the DIRECT_URL of the service, to the URL of Postgres itself."
        )


class TimedConnection(psycopg.Connection[Any]):
    """Closes itself and raises `Unanswered` when Postgres takes longer than `seconds_left` to answer.

    It does not cancel the statement: that would ask the server that does not answer.
    """

    seconds = 600.0
    """The bound of each wait, unless a subclass computes it. The default is for commands that read whole tables."""

    def seconds_left(self) -> float:
        """How many seconds the wait that begins now may take."""
        return self.seconds

    def wait(self, gen: PQGen[_RV], interval: float = 0.1, timeout: float | None = None) -> _RV:
        """All statements, commits, rollbacks and copies of psycopg wait here. Raises Unanswered."""
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        seconds = self.seconds_left()
        try:
            return super().wait(gen, interval, seconds)
        except psycopg.errors._WaitTimeout:
            self.give_up()
            raise Unanswered(f"Postgres did not answer within {seconds:.1f} s") from None

    def give_up(self) -> None:
        """Close the connection at once. It must not wait: Postgres is not answering."""
        self.pgconn.finish()


def open_connection(conninfo: str = "", **kwargs: Any) -> TimedConnection:
    """A connection for a command, outside Django: `psycopg.connect` with a bound for each wait. Raises Unanswered."""
    return connected(partial(TimedConnection.connect, conninfo, **kwargs), _CONNECT_SECONDS)


def open_session(conninfo: str = "", **kwargs: Any) -> TimedConnection:
    """Like `open_connection`, without the limits of the role (`platform_core.db.role_limits`).

    Raises Pooled if a pooler refuses or ignores that, and Unanswered.
    """
    autocommit = bool(kwargs.pop("autocommit", False))
    options = with_options(conninfo_to_dict(conninfo, **kwargs).get("options"), SESSION_OPTIONS)
    try:
        connection = open_connection(make_conninfo(conninfo, **{**kwargs, "options": options}), autocommit=True)
    except psycopg.OperationalError as error:
        if is_from_pooler(error):
            raise Pooled() from None
        raise
    try:
        if connection.execute("SHOW statement_timeout").fetchone() != ("0",):
            raise Pooled()
        connection.autocommit = autocommit
    except BaseException:
        connection.close()
        raise
    return connection


def is_from_pooler(error: Exception) -> bool:
    """Whether PgBouncer refused startup options."""
    return "unsupported startup parameter" in str(error)


def with_options(given: object, ours: str) -> str:
    """libpq's ``options``, with ``ours`` after those that a URL may have."""
    return f"{given} {ours}" if given else ours


def connected(connect: Callable[[], _C], seconds: float) -> _C:
    """The result of ``connect``. Raises Unanswered after ``seconds``, and closes a connection that comes later.

    ``connect`` runs in a thread of its own: nothing else bounds the look-up of a host's name, and psycopg gives each
    host at least two seconds.
    """
    attempt = _Attempt(connect)
    threading.Thread(target=attempt.run, name="connect", daemon=True).start()
    return attempt.result(seconds)


class _Attempt(Generic[_C]):
    def __init__(self, connect: Callable[[], _C]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._is_abandoned = False
        self._connection: _C | None = None
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            connection = self._connect()
        except Exception as error:
            self._error = error
        else:
            with self._lock:
                if not self._is_abandoned:
                    self._connection = connection
            if self._connection is None:
                connection.close()
        self._ended.set()

    def result(self, seconds: float) -> _C:
        self._ended.wait(seconds)
        with self._lock:
            self._is_abandoned = self._connection is None
        if self._connection is not None:
            return self._connection
        raise self._error or Unanswered(f"Postgres accepted no connection within {seconds:.1f} s")
