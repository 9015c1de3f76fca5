"""Bulk inserts by COPY, together with their events."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from django.conf import settings
from django.db import connection, models, transaction

from platform_core.api.json import encode
from platform_core.db.bounds import long_waits
from platform_core.events.log import place
from platform_core.events.partitions import Busy, make_ahead

STATEMENT_SECONDS = 60
"""Longer than the usual statement timeout: a COPY of thousands of rows can take longer than a request."""
M = TypeVar("M", bound=models.Model)
_EVENT_COLUMNS = ("epoch", "txid", "type", "subject", "data", "time", "request_id", "traceparent")


class PastEvent(NamedTuple):
    """An event with a ``time`` in the past."""

    time: datetime
    type: str
    subject: int
    data: Mapping[str, Any]


@dataclass(slots=True)
class Writer:
    """Copies rows in one transaction. ``written`` counts them by ``schema.table``."""

    cursor: Any
    written: dict[str, int] = field(default_factory=dict)

    def copy(self, objects: Sequence[models.Model]) -> None:
        """Insert instances of one model. A JSONField must hold JSON text."""
        if not objects:
            return
        table, fields = objects[0]._meta.db_table, _written_fields(objects[0])
        values = attrgetter(*(each.attname for each in fields))
        self._copy(table, [str(each.column) for each in fields], map(values, objects))

    def append(self, request_id: str, events: Iterable[PastEvent]) -> None:
        """Append events in the order of their times, at this transaction's position in the feed."""
        ours = place()
        rows = (
            (*ours, event.type, str(event.subject), encode(event.data).decode(), event.time, request_id, "")
            for event in sorted(events, key=attrgetter("time"))
        )
        self._copy("events_event", _EVENT_COLUMNS, rows)

    def _copy(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        count = 0
        names = ", ".join(f'"{column}"' for column in columns)
        with self.cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
            for count, row in enumerate(rows, start=1):  # noqa: B007  # the last one is the number of rows
                copy.write_row(row)
        name = f"{settings.SERVICE.package}.{table}"
        self.written[name] = self.written.get(name, 0) + count


@contextmanager
def writing() -> Iterator[Writer]:
    """Open a transaction. Keep it short: while it is open, no feed shows events that were committed after it began."""
    with suppress(Busy):
        make_ahead()  # a worker may be too slow for so many events
    with long_waits(STATEMENT_SECONDS * 1.2), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'")
        yield Writer(cursor)


def sketch(model: type[M], **values: Any) -> M:
    """An instance for `Writer.copy` only. ``values`` are by attribute name; other columns get the model's defaults.

    Bypasses Django's constructor, which would take most of the time of writing a million rows.
    """
    instance = model.__new__(model)
    instance.__dict__.update(_defaults(model), **values)
    return instance


@cache
def _defaults(model: type[models.Model]) -> dict[str, Any]:
    return {each.attname: each.get_default() for each in model._meta.concrete_fields if not each.generated}


def new_ids(model: type[models.Model], count: int) -> list[int]:
    """``count`` ids from the model's sequence, for rows that are referred to before they are written."""
    statement = "SELECT nextval(pg_get_serial_sequence(%s, %s)) FROM generate_series(1, %s)"
    with connection.cursor() as cursor:
        cursor.execute(statement, [model._meta.db_table, model._meta.pk.column, count])
        return [row[0] for row in cursor.fetchall()]


def _written_fields(example: models.Model) -> list[Any]:
    """All columns except generated ones."""
    fields = example._meta.concrete_fields
    return [f for f in fields if not f.generated and not (f.primary_key and example.pk is None)]
