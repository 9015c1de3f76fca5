"""Writing many rows at once, by COPY, with the events that the use cases would append one by one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from django.conf import settings
from django.db import connection, models, transaction

from platform_core.api.json import encode
from platform_core.events.log import place

STATEMENT_TIMEOUT = "60s"
"""A COPY of thousands of rows on a busy machine may take longer than a request ever waits."""
M = TypeVar("M", bound=models.Model)
_EVENT_COLUMNS = ("epoch", "txid", "type", "subject", "data", "time", "request_id", "traceparent")


class PastEvent(NamedTuple):
    """An event that tells of ``time``, and not of the moment at which it is appended."""

    time: datetime
    type: str
    subject: int
    data: Mapping[str, Any]


@dataclass(slots=True)
class Writer:
    """Writes in one transaction. ``written`` counts the rows by ``schema.table``."""

    cursor: Any
    written: dict[str, int] = field(default_factory=dict)

    def copy(self, objects: Sequence[models.Model]) -> None:
        """Insert instances of one model as they are; a JSONField has to hold JSON text."""
        if not objects:
            return
        table, fields = objects[0]._meta.db_table, _written_fields(objects[0])
        values = attrgetter(*(each.attname for each in fields))
        self._copy(table, [str(each.column) for each in fields], map(values, objects))

    def append(self, request_id: str, events: Iterable[PastEvent]) -> None:
        """Put events into the log, under this transaction's place in the feed, in the order of their times."""
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
    """A transaction. Keep it short: while it is open, nobody's feed shows what was committed after it began."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
        yield Writer(cursor)


def sketch(model: type[M], **values: Any) -> M:
    """An instance to be copied and no more. ``values`` go by attribute name; the model's defaults stand for the rest.

    Django's own constructor takes most of the time that it takes to write a million rows.
    """
    instance = model.__new__(model)
    instance.__dict__.update(_defaults(model), **values)
    return instance


@cache
def _defaults(model: type[models.Model]) -> dict[str, Any]:
    return {each.attname: each.get_default() for each in model._meta.concrete_fields if not each.generated}


def new_ids(model: type[models.Model], count: int) -> list[int]:
    """So many ids of the model's own sequence, for rows that others have to refer to before they are there."""
    statement = "SELECT nextval(pg_get_serial_sequence(%s, %s)) FROM generate_series(1, %s)"
    with connection.cursor() as cursor:
        cursor.execute(statement, [model._meta.db_table, model._meta.pk.column, count])
        return [row[0] for row in cursor.fetchall()]


def _written_fields(example: models.Model) -> list[Any]:
    """All columns but those that Postgres fills in by itself."""
    fields = example._meta.concrete_fields
    return [f for f in fields if not f.generated and not (f.primary_key and example.pk is None)]
