"""SQL statements that are compiled once, for querysets that are declared as data.

Compiling a queryset costs Django several times as much as running the statement. `declared` marks a queryset whose
filters are constants. As long as a view's hooks return it unchanged, its statement is the same for every request, apart
from the values that the request gives: these are `Slot`s. Every other queryset is compiled for each request.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Expression, Model, QuerySet, prefetch_related_objects

from platform_core.db.connections import planned, prepared

M = TypeVar("M", bound=Model)
Rows = Sequence[tuple[Any, ...]]

_COMPARISONS = ("", "exact", "lt", "lte", "gt", "gte", "alike")
_statements: dict[Hashable, "Statement"] = {}
"""One statement for each combination of declared queryset, selection, ordering and direction."""


def declared(model: type[M], *, prefetch: Sequence[str] = (), **constants: Any) -> QuerySet[M]:
    """The rows of ``model`` with these constant values, to be the ``queryset`` of a viewset.

    The values are read once, when the class is defined, as Django does with every ``queryset`` of a class. ``prefetch``
    names the relations that a serializer reads.
    """
    queryset = model._default_manager.filter(**constants).prefetch_related(*prefetch)
    queryset.declared_prefetch = tuple(prefetch)  # type: ignore[attr-defined]  # derived querysets have no such attribute
    return queryset


def is_declared(queryset: object) -> bool:
    """Whether `declared` made this queryset, and nothing has changed it since."""
    return hasattr(queryset, "declared_prefetch")


class Slot(Expression):
    """A placeholder in a queryset for a value that is given when the statement runs."""

    def __init__(self, name: str, output_field: Any) -> None:
        super().__init__(output_field=output_field)
        self.name = name

    def prepared(self, value: Any) -> Any:
        """The value in the form that is sent to Postgres."""
        return self.output_field.get_db_prep_value(value, connections[DEFAULT_DB_ALIAS])

    def as_sql(self, compiler: Any, connection: Any, **kwargs: Any) -> tuple[str, Any]:
        """A placeholder whose parameter is the slot itself. `Statement.rows` replaces it by a value."""
        return "%s", (self,)


class Statement:
    """The SELECT of a queryset, with `Slot`s among its parameters."""

    def __init__(self, queryset: QuerySet[Any, Any]) -> None:
        self._sql, self._parameters = queryset.query.sql_with_params()

    def rows(self, values: Mapping[str, Any], limit: int, *, plan_once: bool = True) -> Rows:
        """At most ``limit`` rows; ``values`` fill the slots by name.

        The limit is part of the SQL text: Postgres plans an unknown limit as a tenth of the table. ``plan_once``
        uses one generic query plan; set it if the best plan does not depend on the values.
        """
        parameters = [p.prepared(values[p.name]) if isinstance(p, Slot) else p for p in self._parameters]
        return (prepared if plan_once else planned)(f"{self._sql} LIMIT {limit:d}", parameters)


def statement(key: Hashable, build: Callable[[], QuerySet[Any, Any]]) -> Statement:
    """The statement of ``key``; ``build`` is called once, at the first use.

    Everything that ``build`` depends on must be part of the key.
    """
    found = _statements.get(key)
    return found or _statements.setdefault(key, Statement(build()))


def compared_column(model: type[Model], lookup: str) -> Any:
    """The column that a lookup such as ``price__gte`` compares with one value; None for any other lookup."""
    name, _, comparison = lookup.partition("__")
    return _columns(model).get(name) if comparison in _COMPARISONS else None


def is_compared(model: type[Model], lookup: str, value: object) -> bool:
    """Whether a `Slot` may replace this value. For other values Django's lookups do more than a comparison."""
    column = compared_column(model, lookup)
    try:
        return column is not None and value is not None and type(column.to_python(value)) is type(value)
    except ValidationError:
        return False


def with_slots(queryset: QuerySet[M], lookups: Iterable[str]) -> QuerySet[M]:
    """Filters by lookups whose values are given when the statement runs."""
    slots = {lookup: Slot(lookup, compared_column(queryset.model, lookup)) for lookup in lookups}
    return queryset.filter(**slots) if slots else queryset


@cache
def _columns(model: type[Model]) -> Mapping[str, Any]:
    plain = {field.name: field for field in model._meta.concrete_fields if not field.is_relation}
    return {"pk": model._meta.pk, **plain}


def fetch_one(queryset: QuerySet[M], **values: object) -> M | None:
    """The instance of a declared queryset that has this primary key (``pk``) and these values of columns, or None.

    Columns that Postgres generates and columns with a conversion of their own (JSON) are deferred, as by ``defer()``.
    """
    model, columns = queryset.model, _plain_columns(queryset.model)

    def build() -> QuerySet[Any, Any]:
        return with_slots(queryset, values).values_list(*columns)

    rows = statement((queryset, "one", *values), build).rows(values, 1)
    if not rows:
        return None
    instance = model.from_db(queryset.db, columns, rows[0])
    prefetch: Sequence[str] = queryset.declared_prefetch  # type: ignore[attr-defined]
    if prefetch:
        prefetch_related_objects([instance], *prefetch)
    return instance


@cache
def _plain_columns(model: type[Model]) -> list[str]:
    fields: list[Any] = list(model._meta.concrete_fields)
    return [f.attname for f in fields if not f.generated and not hasattr(f, "from_db_value")]
