"""One connection per thread, opened at its first use, which is after the fork."""

import os
import threading
from collections.abc import Mapping
from typing import Any

import psycopg

_SESSION = "-c statement_timeout=5000 -c idle_in_transaction_session_timeout=15000"
_thread = threading.local()


def execute(statement: str, values: Mapping[str, Any] | None = None) -> psycopg.Cursor[Any]:
    """One statement, which is a transaction of its own."""
    connection = getattr(_thread, "connection", None)
    if connection is None:
        dsn = os.environ["DSN"]
        connection = _thread.connection = psycopg.connect(dsn, autocommit=True, connect_timeout=2, options=_SESSION)
    return connection.execute(statement, values)


def forget_connection() -> None:
    """Closes a connection after an error that may have broken it."""
    connection = _thread.__dict__.pop("connection", None)
    if connection is not None:
        connection.close()
