"""Query strings are validated like bodies: a serializer declares a list's parameters, and unknown ones are refused."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from django.db.models import QuerySet
from django.http import QueryDict
from rest_framework import serializers
from rest_framework.filters import BaseFilterBackend
from rest_framework.request import Request

from platform_core.api.fields import CheapCopy, copy_of
from platform_core.http.errors import FieldError, InvalidInput

MAX_VALUES = 20
"""The maximum number of values of a repeated filter."""
MAX_BRANCHES = 20
"""The maximum number of combinations of repeated filters that get an index scan each."""

_parameters: dict[type, dict[str, Any]] = {}
"""The declared fields of each `Query`."""


class TextField(CheapCopy, serializers.CharField):
    """Any text."""


class TrueField(CheapCopy, serializers.ChoiceField):
    """``true`` or ``false``; anything else is an error."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=["true", "false"], **kwargs)

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value(data) == "true"


class AnyOf(CheapCopy, serializers.ListField):
    """A filter that may be repeated: a row matches if it has one of the values."""

    child: serializers.Field[Any, Any, Any, Any]

    def __init__(self, child: serializers.Field[Any, Any, Any, Any], **kwargs: Any) -> None:
        super().__init__(**{"child": child, "required": False, "max_length": MAX_VALUES, **kwargs})

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        copied = super().__deepcopy__(memo)
        if self.parent is None:
            copied.child = copy.copy(self.child)
            copied.child.parent = copied
        return copied

    def to_internal_value(self, data: list[Any]) -> list[Any]:
        """Removes duplicates. An error in one value is an error of the parameter."""
        if len(data) > MAX_VALUES:
            raise serializers.ValidationError(f"Expected at most {MAX_VALUES} values.", code="max_length")
        return list(dict.fromkeys(self.child.run_validation(value) for value in data))


class OrderingField(CheapCopy, serializers.ChoiceField):
    """``ordering``: maps the names in the API to columns. Each name is also accepted with ``-`` for descending.

    ``one_way`` are further names, without a ``-``, and their columns with a sign. With ``required=False`` the query
    decides what the default is.
    """

    def __init__(
        self, columns: Mapping[str, str], *, default: str, one_way: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        self.columns, self.one_way = columns, one_way or {}
        names = [default.removeprefix("-"), *(name for name in columns if name != default.removeprefix("-"))]
        both = [(name, f"-{name}") for name in names]
        choices = [*(both[0][::-1] if default.startswith("-") else both[0]), *(c for pair in both[1:] for c in pair)]
        if "required" not in kwargs:
            kwargs["default"] = default
        super().__init__(choices=[*choices, *self.one_way], **kwargs)

    def column(self, value: str) -> str:
        """The column by which to order, with its sign."""
        return self.one_way.get(value) or value.replace(value.removeprefix("-"), self.columns[value.removeprefix("-")])


class Query(serializers.Serializer[Any]):
    """The declared query parameters of a list.

    The ``source`` of a field is the lookup that it filters by, such as ``price__gte``. If a lookup is not
    enough, define a method ``filter_<name>(queryset, value)``.
    """

    unfiltered: QuerySet[Any] | None = None
    filtered: QuerySet[Any] | None = None
    """The argument of `filter`, and its result."""
    comparisons: Mapping[str, Any] | None = None
    """The value of each lookup, if all given filters are comparisons of columns; otherwise None."""

    def get_fields(self) -> dict[str, Any]:
        """Without data all parameters; with data only those that are given or have a default, as copies cost time."""
        if not hasattr(self, "initial_data"):
            return super().get_fields()
        declared = _parameters.get(type(self)) or _parameters.setdefault(type(self), super().get_fields())
        return {
            name: copy_of(field)
            for name, field in declared.items()
            if name in self.initial_data or field.required or field.default is not serializers.empty
        }

    def filter(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Apply the given filters. Returns ``queryset`` itself if none was given."""
        self.unfiltered, conditions, is_plain = queryset, dict[str, Any](), True
        for name, field, value in self._given():
            method = getattr(self, f"filter_{name}", None)
            if method is not None:
                queryset, is_plain = method(queryset, value), False
            elif isinstance(field, AnyOf):
                is_plain = is_plain and len(value) == 1
                conditions |= {f"{field.source}__in": value} if len(value) > 1 else {str(field.source): value[0]}
            else:
                conditions[str(field.source)] = value
        self.filtered = queryset.filter(**conditions) if conditions else queryset
        self.comparisons = conditions if is_plain else None
        return self.filtered

    def branches(self, queryset: QuerySet[Any]) -> list[dict[str, Any]]:
        """The combinations of values of repeated filters: each row of ``queryset`` has exactly one of them.

        A list reads each branch by an index scan of its own and merges the branches, so a page costs the same at any
        depth. If there are more than MAX_BRANCHES combinations, only the filters with the most values are split. A
        queryset that a view's `filter_queryset` has changed may hold other rows: it has no branches.
        """
        if queryset is not self.filtered:
            return []
        repeated = {
            str(field.source): value
            for name, field, value in self._given()
            if isinstance(field, AnyOf) and len(value) > 1 and not hasattr(self, f"filter_{name}")
        }
        longest = sorted(repeated, key=lambda source: len(repeated[source]), reverse=True)
        while _product(repeated[source] for source in longest) > MAX_BRANCHES:
            longest.pop()
        values = product(*(repeated[source] for source in longest))
        return [dict(zip(longest, combination, strict=True)) for combination in values] if longest else []

    @property
    def order(self) -> str | None:
        """The requested column of ``ordering``, such as ``-price``; None without such a field."""
        ordered = [field.column(value) for _, field, value in self._fields() if isinstance(field, OrderingField)]
        return ordered[0] if ordered else None

    def _fields(self) -> Iterable[tuple[str, Any, Any]]:
        found: dict[str, Any] = self.validated_data
        return ((n, f, found[str(f.source)]) for n, f in self.fields.items() if str(f.source) in found)

    def _given(self) -> Iterable[tuple[str, Any, Any]]:
        return (each for each in self._fields() if not isinstance(each[1], OrderingField))


def _product(lists: Iterable[Sequence[Any]]) -> int:
    count = 1
    for values in lists:
        count *= len(values)
    return count


def read_query(request: Request, query_class: type[Query], *, also_known: Iterable[str] = ()) -> dict[str, Any]:
    """The given parameters and the defaults. Raises InvalidInput, which names unknown and repeated ones."""
    found: dict[str, Any] = parse_query(request, query_class, also_known=also_known).validated_data
    return found


def parse_query(request: Request, query_class: type[Query], *, also_known: Iterable[str] = ()) -> Query:
    """A valid query. ``also_known`` are parameters that others read, such as a paginator.

    Raises InvalidInput, ValidationError.
    """
    given = request.query_params
    data: dict[str, Any] = dict(given.lists())
    query = query_class(data=data, context={"request": request})
    if given:
        repeatable = {name for name, field in query.fields.items() if isinstance(field, AnyOf)}
        _refuse(given, query, also_known=list(also_known), repeatable=repeatable)
        data |= {name: given[name] for name in given if name not in repeatable}
    query.is_valid(raise_exception=True)
    return query


def _refuse(given: QueryDict, query: Query, *, also_known: Sequence[str], repeatable: Iterable[str]) -> None:
    """Refuse unknown and repeated parameters. Raises InvalidInput."""
    unknown = [name for name in given if name not in query.fields and name not in also_known]
    if unknown:
        detail = f"Known are: {', '.join(dict.fromkeys([*type(query)().fields, *also_known]))}."
        raise InvalidInput(f"Unknown query parameter {unknown[0][:100]!r}.", errors=_errors(unknown, "unknown", detail))
    repeated = [name for name in given if name not in repeatable and len(given.getlist(name)) > 1]
    if repeated:
        detail = "Given more than once; expected one value."
        raise InvalidInput(f"{repeated[0]}: {detail}", errors=_errors(repeated, "repeated", detail))


def _errors(names: Sequence[str], code: str, detail: str) -> list[FieldError]:
    return [{"field": name[:100], "code": code, "detail": detail} for name in names[:20]]


class QueryFilter(BaseFilterBackend):
    """Filters a list by the view's ``query_class``. Requests for one resource have no filters."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        if getattr(view, "query_class", None) is None or (view.lookup_url_kwarg or view.lookup_field) in view.kwargs:
            return queryset
        return view.query.filter(queryset)  # type: ignore[no-any-return]
