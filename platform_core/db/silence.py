"""Notices that Postgres is silent: frozen, cut off, or unable to commit because its synchronous standby is lost.

While it is, requests are refused at once instead of holding a thread until their deadline, so that the process keeps
answering what needs no database. A thread of the process watches for long waits and asks Postgres itself, on a
connection of its own; no request has to try.
"""

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from enum import StrEnum
from functools import partial

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections

from platform_core.db.waiting import TimedConnection, Unanswered, connected

log = logging.getLogger("platform.database")
_SUSPICIOUS_SECONDS = 1.0
"""After a wait of this length the watch asks whether Postgres answers at all."""
_PAUSE_SECONDS = 0.3
_ANSWER_SECONDS = 1.0
_CONNECT_SECONDS = 5.0
"""Two for each of two hosts, the least that psycopg allows, and one for their names."""


class Answers(StrEnum):
    """What Postgres answered when it was last asked."""

    ALL = "all"
    READS = "reads"
    """It does not commit: the synchronous standby is lost."""
    NOTHING = "nothing"


class Silent(psycopg.OperationalError):
    """Postgres is known not to answer, so it was not asked."""


class _Waiting:
    """A class, because a generator would cost each statement more."""

    __slots__ = ("_thread", "_waits")

    def __init__(self, waits: dict[int, float]) -> None:
        self._waits = waits
        self._thread = threading.get_ident()

    def __enter__(self) -> None:
        self._waits[self._thread] = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._waits.pop(self._thread, None)


class Watch:
    """One for each process. ``ask`` finds out what Postgres answers; it must be bounded itself."""

    def __init__(self, ask: Callable[[], Answers]) -> None:
        self._ask = ask
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()  # a thread of the parent may have held the other one
        self.answers = Answers.ALL
        self._silent_at = -math.inf
        self._waits: dict[int, float] = {}
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the watching thread of this process, if it does not run."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="database-watch", daemon=True)
                self._thread.start()

    def waiting(self) -> "_Waiting":
        """Marks a wait on Postgres of this thread, inside a ``with`` block."""
        return _Waiting(self._waits)

    def refuse_if_silent(self) -> None:
        """Raises Silent."""
        if self.answers is Answers.NOTHING:
            raise Silent("Postgres does not answer")

    def was_silent(self, seconds: float) -> bool:
        """Whether Postgres was silent at some time within the last ``seconds``, as far as the watch has noticed."""
        return self.answers is not Answers.ALL or time.monotonic() - self._silent_at < seconds

    def _run(self) -> None:
        while True:
            time.sleep(_PAUSE_SECONDS)
            oldest = min(list(self._waits.values()), default=None)
            is_suspicious = oldest is not None and time.monotonic() - oldest > _SUSPICIOUS_SECONDS
            if is_suspicious or self.answers is not Answers.ALL:
                began = time.monotonic()
                self._note(self._asked(), time.monotonic() - began)

    def _asked(self) -> Answers:
        """What Postgres answers. A watch that cannot find out refuses nothing: it must not end with a wrong verdict."""
        try:
            return self._ask()
        except Exception as error:
            log.error("database.watch_failed", exc_info=error)
            return Answers.ALL

    def _note(self, found: Answers, took: float) -> None:
        before, self.answers = self.answers, found
        if found is not Answers.ALL or before is not found or took > _SUSPICIOUS_SECONDS:
            self._silent_at = time.monotonic()
        if before is not found:
            event = "database.answers" if found is Answers.ALL else "database.silent"
            level = logging.INFO if found is Answers.ALL else logging.WARNING
            log.log(level, event, extra={"data": {"answers": found.value}})


class _Probe(TimedConnection):
    """A connection whose waits are short."""

    seconds = _ANSWER_SECONDS

    def give_up(self) -> None:
        """Cancel first: a server that waits for its standby would keep the connection after it is closed here."""
        if psycopg.capabilities.has_cancel_safe():
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=_ANSWER_SECONDS)
        super().give_up()


def ask_postgres() -> Answers:
    """Connect as the process does, read, and commit. An error is an answer, too: requests get it at once."""
    parameters = connections[DEFAULT_DB_ALIAS].get_connection_params()
    kept = {name: value for name, value in parameters.items() if name not in ("context", "cursor_factory")}
    found = Answers.NOTHING
    try:
        with closing(connected(partial(_Probe.connect, **kept, autocommit=True), _CONNECT_SECONDS)) as probe:
            probe.execute("SELECT 1")
            found = Answers.READS
            # The least that is committed: a commit of nothing would not wait for a standby.
            probe.execute("SELECT pg_logical_emit_message(true, 'platform', 'Does Postgres commit?')")
    except (psycopg.errors.ConnectionTimeout, Unanswered):
        return found
    except psycopg.Error:
        return Answers.ALL
    return Answers.ALL


watch = Watch(ask_postgres)
"""This process's."""
