"""Refuses to count in another currency than the one that the schema began with."""

from typing import Any

import psycopg
from django.conf import settings
from django.core.checks import CheckMessage, Error

from platform_core.db.beside import open_beside
from platform_core.models import SchemaCurrency


def other_currency() -> str | None:
    """The currency of the schema, if it differs from CURRENCY. None also if the schema does not say. Raises Error."""
    code = SchemaCurrency.objects.values_list("code", flat=True).first()
    return None if code == settings.CURRENCY else code


def check_currency(**_: Any) -> list[CheckMessage]:
    """A system check. A database that does not answer is reported by `/health/ready`, which asks again.

    It has a connection of its own, because processes that are forked later must not share Django's.
    """
    try:
        with open_beside(connect_timeout=2) as own:
            row = own.execute(f"SELECT code FROM {SchemaCurrency._meta.db_table}".encode()).fetchone()
    except psycopg.Error:
        return []
    other = row[0] if row else settings.CURRENCY
    return [] if other == settings.CURRENCY else [Error(explanation(other), id="platform.E020")]


def explanation(other: str) -> str:
    """What is wrong, and what to do."""
    return (
        f"CURRENCY is {settings.CURRENCY}, but the amounts of {settings.SERVICE.name} are in {other}. "
        f"Set CURRENCY={other}. To begin with another currency, use an empty database."
    )
