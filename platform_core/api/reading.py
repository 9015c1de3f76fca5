"""Reads without serializer instances: a serializer class says the wire's shape once, a Reader follows it.

Building a ModelSerializer for each row costs more than the query; a Reader takes `values_list` rows to dictionaries
that the encoder takes as they are.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import msgspec
from django.contrib.postgres.aggregates import JSONBAgg
from django.db import connection, models
from django.db.models import Func, JSONField, OuterRef, Subquery, TextField, Value
from django.db.models.functions import Cast, Coalesce
from rest_framework import serializers

from platform_core.api.fields import MAX_ID, IdField
from platform_core.database import prepared

Row = dict[str, Any]


def _as_is(value: Any) -> Any:
    return value


def _as_id(value: Any) -> str | None:
    return None if value is None else str(value)


def _as_json(text: str) -> msgspec.Raw:
    """JSON that Postgres built, without its spaces."""
    return msgspec.Raw(msgspec.json.format(text, indent=-1).encode())


class Column(NamedTuple):
    """A member of the wire's shape, where its value comes from, and how it is made of that."""

    name: str
    source: str
    convert: Callable[[Any], Any]


class Reader:
    """Rows of a queryset, or instances, in the shape of ``serializer_class``.

    A nested list comes in the same query, as JSON that Postgres built: the related rows in their model's ordering.
    """

    def __init__(self, serializer_class: type[serializers.Serializer[Any]]) -> None:
        self.columns: list[Column] = []
        self.nested: dict[str, Reader] = {}
        for name, field in serializer_class().fields.items():
            source = str(field.source)
            if isinstance(field, serializers.ListSerializer):
                child: Any = type(field.child)
                self.nested[source] = Reader(child)
                self.columns.append(Column(name, f"_{source}", _as_json))
            elif not field.write_only:
                self.columns.append(Column(name, source, _as_id if isinstance(field, IdField) else _as_is))

    def rows(self, queryset: models.QuerySet[Any], *extra: str) -> list[tuple[Row, tuple[Any, ...]]]:
        """One query. Each row with the values of the ``extra`` columns, which do not go over the wire."""
        width = len(self.columns)
        return [(self.row(values), values[width:]) for values in self.select(queryset, *extra)]

    def select(self, queryset: models.QuerySet[Any], *extra: str) -> models.QuerySet[Any, Any]:
        """The values of the columns, and of the ``extra`` ones behind them."""
        lists = {f"_{source}": _json_list(queryset.model, source, reader) for source, reader in self.nested.items()}
        return queryset.annotate(**lists).values_list(*(column.source for column in self.columns), *extra)

    def row(self, values: Sequence[Any]) -> Row:
        return {name: convert(value) for (name, _, convert), value in zip(self.columns, values, strict=False)}

    def instance(self, obj: models.Model, **related: Iterable[models.Model]) -> Row:
        """The same shape from an object in hand, with its ``related`` rows by the relation's name."""
        lists = {
            f"_{source}": [reader.instance(child) for child in related[source]]
            for source, reader in self.nested.items()
        }
        return {
            name: lists[source] if source in lists else convert(getattr(obj, source))
            for name, source, convert in self.columns
        }


class Lookup:
    """The row of ``queryset`` with given values in ``columns``, which hold ids, and its ``extra`` columns.

    Django makes the statement once: to make it anew for each request costs three times as much as to run it.
    """

    def __init__(
        self, reader: Reader, queryset: models.QuerySet[Any], columns: tuple[str, ...], extra: tuple[str, ...]
    ) -> None:
        stand_ins = {column: MAX_ID - number for number, column in enumerate(columns)}
        compiler = reader.select(queryset.filter(**stand_ins), *extra).query.get_compiler(connection=connection)
        self._reader = reader
        self._statement, self._parameters = compiler.as_sql()
        self._places = [self._parameters.index(stand_in) for stand_in in stand_ins.values()]
        assert not compiler.get_converters([selected for selected, _, _ in compiler.select])

    def __call__(self, *ids: int) -> tuple[Row, tuple[Any, ...]] | None:
        parameters = list(self._parameters)
        for place, value in zip(self._places, ids, strict=True):
            parameters[place] = value
        rows = prepared(self._statement, parameters)
        return (self._reader.row(rows[0]), rows[0][len(self._reader.columns) :]) if rows else None


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
    members = {
        name: Cast(source, TextField()) if convert is _as_id else source for name, source, convert in reader.columns
    }
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
