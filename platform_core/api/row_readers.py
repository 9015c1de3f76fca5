"""Reads list rows directly in their JSON shape, without a model instance and a serializer run for each.

A serializer describes the shape; a `Reader` selects exactly these values, in the form that they have in JSON. It is a
fast path for serializers that consist of known parts. For all others `reader_for` returns None, and DRF works as
documented.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any, ClassVar, NamedTuple

import msgspec
from django.conf import settings
from django.contrib.postgres.aggregates import JSONBAgg
from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.db.models import Case, Func, JSONField, OuterRef, Q, Subquery, TextField, Value, When
from django.db.models.functions import Cast, Coalesce
from rest_framework import serializers
from rest_framework.settings import api_settings

from platform_core.api.fields import CurrencyField, IdField, MoneyField, StringField, copy_of
from platform_core.api.strict_bodies import unknown_members
from platform_core.conf import decimals, rounded

_decode = msgspec.json.Decoder(list[dict[str, Any]] | dict[str, Any] | None, float_hook=Decimal).decode


_declared: dict[type, dict[str, Any]] = {}
"""The declared fields of each `Serializer`."""


class Row(dict[str, Any]):
    """A row that already has its serializer's shape."""

    __slots__ = ()


# DRF's serializer. It leaves `Row`s as they are, reads instances with a `Reader` where there is one, and refuses
# members that it does not know, unless ``is_strict`` is False. This is no docstring, because the OpenAPI documents
# describe a schema by the docstring that its class inherits.
class Serializer(serializers.Serializer[Any]):
    is_strict: ClassVar[bool] = True

    def get_fields(self) -> dict[str, Any]:
        """A copy of each declared field. DRF copies the whole dictionary, which takes twice as long."""
        declared = _declared.get(type(self)) or _declared.setdefault(type(self), super().get_fields())
        return {name: copy_of(field) for name, field in declared.items()}

    def to_internal_value(self, data: Any) -> Any:
        unknown = unknown_members(self, data) if self.is_strict and isinstance(data, Mapping) else {}
        if not unknown:
            return super().to_internal_value(data)
        try:
            super().to_internal_value(data)
        except serializers.ValidationError as error:
            others = error.detail if isinstance(error.detail, dict) else {}
            raise serializers.ValidationError({**unknown, **others}) from None
        raise serializers.ValidationError(unknown)

    def to_representation(self, instance: Any) -> Any:
        if type(instance) is Row:
            return instance
        reader = reader_for(self, type(instance)) if isinstance(instance, models.Model) else None
        return super().to_representation(instance) if reader is None else reader.instance(instance)


class Part(Serializer):
    """A nested object whose members are columns of the same row: ``source="*"``. Null if the first of them is NULL."""

    def get_attribute(self, instance: Any) -> Any:
        """The row itself, or None if the row has no such part."""
        (first, *_) = self.fields.values()
        return None if getattr(instance, str(first.source)) is None else instance


def reader_for(serializer: object, model: type[models.Model]) -> "Reader | None":
    """The reader for a new serializer; None if any part of it is unknown.

    Known are our `Serializer` without overridden methods, and the fields in `_KNOWN` on columns of the model.
    """
    if not isinstance(serializer, Serializer) or "fields" in vars(serializer):  # they may have been changed
        return None
    return reader_of(type(serializer), model)


@cache
def reader_of(serializer_class: type[serializers.BaseSerializer[Any]], model: type[models.Model]) -> "Reader | None":
    """`reader_for` a serializer of this class."""
    if not issubclass(serializer_class, Serializer):
        return None
    if any(getattr(serializer_class, name) is not getattr(Serializer, name) for name in _HOOKS):
        return None
    try:
        return Reader(serializer_class, model)
    except _NotKnown:
        return None


_HOOKS = ("__new__", "__init__", "get_fields", "fields", "data", "to_representation")
"""The methods that decide how a serializer represents an instance."""


class _NotKnown(Exception):
    """A part of a serializer that only DRF can handle."""


def _as_is(value: Any) -> Any:
    return value


def _as_id(value: Any) -> str | None:
    return None if value is None else str(value)


def _as_time(value: datetime | None) -> str | None:
    return None if value is None else value.astimezone(UTC).isoformat().replace("+00:00", "Z")


_TEXTS = (models.CharField, models.TextField)
_KNOWN: dict[Any, tuple[tuple[Any, ...], Callable[[Any], Any]]] = {
    serializers.CharField.to_representation: (_TEXTS, _as_is),
    StringField.to_representation: (_TEXTS, _as_is),
    serializers.ChoiceField.to_representation: (_TEXTS, _as_is),
    serializers.BooleanField.to_representation: ((models.BooleanField,), _as_is),
    serializers.IntegerField.to_representation: ((models.IntegerField,), _as_is),
    MoneyField.to_representation: ((models.DecimalField,), rounded),
    IdField.to_representation: ((models.IntegerField,), _as_id),
    serializers.DateTimeField.to_representation: ((models.DateTimeField,), _as_time),
}
"""How a field represents a value: the columns for which that is known, and how an instance's value is converted."""


class Column(NamedTuple):
    """A member of the JSON: its name, the attribute it comes from, and how an instance's value is converted.

    ``selected`` is the SQL expression if Postgres computes the JSON form; None if the column is selected unchanged.
    """

    name: str
    source: str
    convert: Callable[[Any], Any]
    selected: Any = None


class Reader:
    """Rows of a queryset, or instances, in the shape of ``serializer_class``.

    A nested list comes in the same query, as JSON that Postgres aggregates: the related rows in their model's ordering.
    So does a `Part`.
    """

    def __init__(self, serializer_class: type[serializers.Serializer[Any]], model: type[models.Model]) -> None:
        self.columns: list[Column] = []
        self.nested: dict[str, Reader] = {}
        self.parts: dict[str, Reader] = {}
        for name, field in serializer_class().fields.items():
            if isinstance(field, serializers.ListSerializer):
                self._add_list(name, field, model)
            elif isinstance(field, Part):
                self._add_part(name, field, model)
            elif not field.write_only:
                self._add(name, field, model)
        self._names = [column.name for column in self.columns]
        self._encoded = [column.name for column in self.columns if column.source in (*self.nested, *self.parts)]

    def _add(self, name: str, field: serializers.Field[Any, Any, Any, Any], model: type[models.Model]) -> None:
        if type(field).to_representation is CurrencyField.to_representation:
            shop = Value(settings.CURRENCY, output_field=TextField())
            self.columns.append(Column(name, str(field.source), _as_is, shop))
            return
        column = _column(model, str(field.source))
        kinds, convert = _KNOWN.get(type(field).to_representation, ((), _as_is))
        if not isinstance(column, kinds) or type(field).get_attribute is not serializers.Field.get_attribute:
            raise _NotKnown
        selected: Any = None
        if convert is _as_id:
            selected = Cast(str(field.source), TextField())
        elif convert is rounded and not decimals():
            selected = Cast(str(field.source), models.DecimalField(max_digits=30, decimal_places=0))
        elif convert is _as_time:
            if api_settings.DATETIME_FORMAT != "iso-8601" or "format" in vars(field) or "timezone" in vars(field):
                raise _NotKnown
            selected = _Timestamp(str(field.source))
        self.columns.append(Column(name, str(field.source), convert, selected))

    def _add_list(self, name: str, field: Any, model: type[models.Model]) -> None:
        relation = _relation(model, str(field.source))
        child = reader_of(type(field.child), relation.related_model)  # type: ignore[arg-type]
        if type(field) is not serializers.ListSerializer or child is None or child.nested or child.parts:
            raise _NotKnown
        self.nested[str(field.source)] = child
        self.columns.append(Column(name, str(field.source), _as_is))

    def _add_part(self, name: str, field: Part, model: type[models.Model]) -> None:
        child = reader_of(type(field), model)
        if field.source != "*" or type(field).get_attribute is not Part.get_attribute:
            raise _NotKnown
        if child is None or child.nested or child.parts:
            raise _NotKnown
        self.parts[name] = child
        self.columns.append(Column(name, name, _as_is))

    def select(self, queryset: models.QuerySet[Any], *extra: str) -> models.QuerySet[Any, Any]:
        """Select the columns, followed by the ``extra`` columns, which are not part of the answer."""
        made = {f"_{column.source}": column.selected for column in self.columns if column.selected is not None}
        made |= {f"_{source}": _json_list(queryset.model, source, reader) for source, reader in self.nested.items()}
        made |= {f"_{name}": _json_part(reader) for name, reader in self.parts.items()}
        names = [f"_{column.source}" if f"_{column.source}" in made else column.source for column in self.columns]
        rows = queryset.prefetch_related(None).annotate(**made)
        selected: models.QuerySet[Any, Any] = rows.values_list(*names, *extra)
        return selected

    def read(self, values: tuple[Any, ...]) -> Row:
        """The answer's row from the selected values."""
        row = Row(zip(self._names, values, strict=False))
        for name in self._encoded:
            row[name] = None if row[name] is None else _decode(row[name])
        return row

    def rest(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """The extra columns of a selected row."""
        return values[len(self.columns) :]

    def instance(self, obj: models.Model, **related: Iterable[models.Model]) -> Row:
        """The row from an instance. ``related`` has the loaded rows of nested lists, by source."""
        row = Row()
        for name, source, convert, _ in self.columns:
            if source in self.nested:
                children = related[source] if source in related else getattr(obj, source).all()
                row[name] = [self.nested[source].instance(child) for child in children]
            elif source in self.parts:
                part = self.parts[source]
                row[name] = None if getattr(obj, part.columns[0].source) is None else part.instance(obj)
            else:
                row[name] = convert(getattr(obj, source))
        return row


def _column(model: type[models.Model], source: str) -> Any:
    """The concrete field with that name. For the id of a foreign key, the field that it refers to."""
    try:
        field: Any = model._meta.get_field(source)
    except FieldDoesNotExist:
        raise _NotKnown from None
    if source not in (field.name, getattr(field, "attname", "")) or not getattr(field, "concrete", False):
        raise _NotKnown
    return field.target_field if isinstance(field, models.ForeignKey) and source == field.attname else field


def _relation(model: type[models.Model], source: str) -> Any:
    try:
        relation: Any = model._meta.get_field(source)
    except FieldDoesNotExist:
        raise _NotKnown from None
    if not relation.one_to_many:
        raise _NotKnown
    return relation


class _Timestamp(Func):
    """RFC 3339 in UTC, formatted by Postgres: converting times in Python took a sixth of a list's CPU time."""

    template = "TO_CHAR(%(expressions)s AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
    output_field = TextField()


def _json_object(members: Mapping[str, Any]) -> Func:
    """As json, because jsonb would change the order of the keys."""
    pairs = [part for name, value in members.items() for part in (Cast(Value(name), TextField()), value)]
    return Func(*pairs, function="JSON_BUILD_OBJECT", output_field=JSONField())


def _json_part(reader: Reader) -> Case:
    """A `Part` as JSON in text; NULL if its first column is."""
    members = {column.name: column.selected or column.source for column in reader.columns}
    is_there = Q(**{f"{reader.columns[0].source}__isnull": False})
    return Case(When(is_there, then=Cast(_json_object(members), TextField())), output_field=TextField())


class _JsonArray(JSONBAgg):
    function = "JSON_AGG"


def _json_list(model: type[models.Model], relation: str, reader: Reader) -> Coalesce:
    """The related rows as a JSON array in text, in their model's ordering."""
    field = _relation(model, relation)
    related = field.related_model
    foreign_key = field.field.name
    members = {column.name: column.selected or column.source for column in reader.columns}
    aggregated = (
        related._default_manager.filter(**{foreign_key: OuterRef("pk")})
        .order_by()
        .values(foreign_key)
        .annotate(_list=Cast(_JsonArray(_json_object(members), order_by=related._meta.ordering), TextField()))
        .values("_list")
    )
    return Coalesce(Subquery(aggregated), Value("[]"), output_field=TextField())
