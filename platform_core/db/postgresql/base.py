"""The module that Django looks for in a database backend."""

from types import ModuleType
from typing import Any

import psycopg
from django.db.backends.postgresql import base

from platform_core.db.bounds import BoundedConnection


class _Psycopg(ModuleType):
    """psycopg, as Django's backend uses it, but connections are bounded."""

    connect = staticmethod(BoundedConnection.connect)

    def __getattr__(self, name: str) -> Any:
        return getattr(psycopg, name)


class DatabaseWrapper(base.DatabaseWrapper):
    """Differs from Django's in two things: connections bound their waits, and a connection that such a wait has closed
    is replaced before the next query. Inside a transaction it is not, since the transaction is lost.
    """

    Database = _Psycopg("psycopg")

    def ensure_connection(self) -> None:
        if self.connection is not None and self.connection.closed and not self.in_atomic_block:
            self.close()
        super().ensure_connection()
