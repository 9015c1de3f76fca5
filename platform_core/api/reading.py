"""Reads without serializer instances: a serializer class says the wire's shape once, a Reader follows it.

Building a ModelSerializer for each row costs more than the query; a Reader takes `values_list` rows to structs, which
are made and encoded in a fraction of the time of dictionaries. What has another form on the wire leaves Postgres in it.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

import msgspec
from django.contrib.postgres.aggregates import JSONBAgg
from django.db import models
from django.db.models import Func, JSONField, OuterRef, Subquery, TextField, Value
from django.db.models.functions import Cast, Coalesce
from rest_framework import serializers

from platform_core.api.fields import IdField


def _as_is(value: Any) -> Any:
    return value


def _as_id(value: Any) -> str | None:
    return None if value is None else str(value)


def _as_json(text: str) -> msgspec.Raw:
    """JSON that Postgres built, without its spaces."""
    return msgspec.Raw(msgspec.json.format(text, indent=-1).encode())


class Column(NamedTuple):
    """A member of the wire's shape, the attribute it comes from, and how an object's value is converted.

    ``selected`` is an expression where Postgres makes the wire's form itself.
    """

    name: str
    source: str
    convert: Callable[[Any], Any]
    selected: Any = None


class Reader:
    """Rows of a queryset, or instances, in the shape of ``serializer_class``.

    A nested list comes in the same query, as JSON that Postgres built: the related rows in their model's ordering.
    """

    def __init__(self, serializer_class: type[serializers.Serializer[Any]]) -> None:
        self.columns: list[Column] = []
        self.nested: dict[str, Reader] = {}
        self.lists: list[int] = []
        for name, field in serializer_class().fields.items():
            source = str(field.source)
            if isinstance(field, serializers.ListSerializer):
                child: Any = type(field.child)
                self.nested[source] = Reader(child)
                self.lists.append(len(self.columns))
                self.columns.append(Column(name, source, _as_is))
            elif isinstance(field, serializers.DateTimeField):
                self.columns.append(Column(name, source, _as_is, _Timestamp(source)))
            elif isinstance(field, IdField):
                self.columns.append(Column(name, source, _as_id, Cast(source, TextField())))
            elif not field.write_only:
                self.columns.append(Column(name, source, _as_is))
        names = [column.name for column in self.columns]
        self._row = msgspec.defstruct(f"{serializer_class.__name__}Row", names, gc=False)

    def select(self, queryset: models.QuerySet[Any], *extra: str) -> models.QuerySet[Any, Any]:
        """The values of the columns, and of the ``extra`` ones behind them, which do not go over the wire."""
        made = {f"_{column.source}": column.selected for column in self.columns if column.selected is not None}
        made |= {f"_{source}": _json_list(queryset.model, source, reader) for source, reader in self.nested.items()}
        names = [f"_{column.source}" if f"_{column.source}" in made else column.source for column in self.columns]
        selected: models.QuerySet[Any, Any] = queryset.annotate(**made).values_list(*names, *extra)
        return selected

    def read(self, values: tuple[Any, ...]) -> msgspec.Struct:
        """The row that was selected."""
        cells = values[: len(self.columns)]
        if self.lists:
            cells = tuple(_as_json(cell) if number in self.lists else cell for number, cell in enumerate(cells))
        return self._row(*cells)

    def rest(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """The columns behind the row's own."""
        return values[len(self.columns) :]

    def instance(self, obj: models.Model, **related: Iterable[models.Model]) -> dict[str, Any]:
        """The same shape from an object in hand, with its ``related`` rows by the relation's name."""
        lists = {
            source: [reader.instance(child) for child in related[source]] for source, reader in self.nested.items()
        }
        return {
            column.name: lists[column.source] if column.source in lists else column.convert(getattr(obj, column.source))
            for column in self.columns
        }


class _Timestamp(Func):
    """RFC 3339 in UTC. To read a time into Python and write it again costs more than all the rest of a row."""

    template = "TO_CHAR(%(expressions)s AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
    output_field = TextField()


def _json_object(members: Mapping[str, Any]) -> Func:
    """As json, for jsonb would put the keys in an order of its own."""
    pairs = [part for name, value in members.items() for part in (Cast(Value(name), TextField()), value)]
    return Func(*pairs, function="JSON_BUILD_OBJECT", output_field=JSONField())


class _JsonArray(JSONBAgg):
    function = "JSON_AGG"


def _json_list(model: type[models.Model], relation: str, reader: Reader) -> Coalesce:
    """The related rows as a JSON array in text, in their model's ordering."""
    field = model._meta.get_field(relation)
    related = field.related_model
    foreign_key = field.field.name  # type: ignore[union-attr]
    assert isinstance(related, type)
    members = {column.name: column.selected or column.source for column in reader.columns}
    aggregated = (
        related._default_manager.filter(**{foreign_key: OuterRef("pk")})
        .order_by()
        .values(foreign_key)
        .annotate(_list=Cast(_JsonArray(_json_object(members), order_by=related._meta.ordering), TextField()))
        .values("_list")
    )
    return Coalesce(Subquery(aggregated), Value("[]"), output_field=TextField())


@cache
def reader_of(serializer_class: type[serializers.Serializer[Any]]) -> Reader:
    """The class's reader, made once."""
    return Reader(serializer_class)
