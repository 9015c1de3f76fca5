"""A connection of its own beside Django's: for a lock that is held for long, and for processes that fork later."""

from typing import Any

from django.conf import settings
from django.db import connection

from platform_core.db.waiting import TimedConnection, open_connection


def open_beside(**kwargs: Any) -> TimedConnection:
    """Connect to the service's database, past a pooler. ``kwargs`` are psycopg's. Raises psycopg.OperationalError."""
    database = connection.settings_dict
    names = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    parts = {name: str(database[key]) for name, key in names.items() if database[key]}
    # The name of the database is Django's: tests have one of their own.
    return open_connection(**{**parts, **settings.DIRECT_DATABASE, "dbname": parts["dbname"], **kwargs})
