"""Reads what this service holds of a person, in pages."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db.models import BinaryField, GeneratedField, QuerySet

from platform_core.auth.staff import shadow_name
from platform_core.privacy.erasing import held


class Position(NamedTuple):
    """The last row that was read: the number of its queryset, and its primary key."""

    number: int = 0
    pk: Any = 0

    def __str__(self) -> str:
        return f"{self.number}-{self.pk}"


FIRST = Position()


class Found(NamedTuple):
    """A row of a person: its table, and its columns by name, without hashes and what Postgres computes."""

    position: Position
    table: str
    row: dict[str, Any]


def rows_of(user_id: int, after: Position = FIRST, limit: int | None = None) -> Iterator[Found]:
    """The person's rows after a position, at most ``limit``. Reads no more rows than that."""
    left = limit
    for number, rows in enumerate(_sources(user_id)):
        if number < after.number:
            continue
        newer = rows.filter(pk__gt=after.pk) if number == after.number else rows
        fields = [f for f in rows.model._meta.concrete_fields if not isinstance(f, BinaryField | GeneratedField)]
        columns = [field.attname for field in fields if field.name != "password"]
        for row in newer.order_by("pk").values(*columns)[:left]:
            pk = row[rows.model._meta.pk.attname]
            yield Found(Position(number, pk), rows.model._meta.db_table, row)
            if left is not None:
                left -= 1
        if left == 0:
            return


def _sources(user_id: int) -> list[QuerySet[Any]]:
    """The querysets of the person's rows. In the admin these are the shadow of a staff account, and what it did."""
    name = shadow_name(user_id)
    own = [rows for data in held() for rows in data.rows(user_id)]
    return [*own, User.objects.filter(username=name), LogEntry.objects.filter(user__username=name)]
