"""Keyset pagination: the cursor holds the position of the last row, so all pages cost the same. Nothing is counted."""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from django.conf import settings
from django.db.models import BooleanField, F, Func, QuerySet, Value
from django.db.models.lookups import GreaterThan, LessThan
from rest_framework import serializers
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response

from platform_core.api.fields import WholeField
from platform_core.api.queries import Query
from platform_core.api.query_cache import Slot, Statement, statement, with_slots
from platform_core.api.row_readers import Reader, reader_for
from platform_core.http.errors import InvalidInput

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
_SIGNATURE_BYTES = 9


@dataclass(frozen=True, slots=True)
class Ordering:
    """Orders rows by ``field`` and then by id, in the same direction.

    ``field`` is a column or an annotation; "id" is the order of creation. Several columns are separated by commas: an
    index may have the first one alone.
    """

    field: str = "id"
    descending: bool = True

    @classmethod
    def parse(cls, text: str) -> "Ordering":
        """The ordering that a text such as ``-price`` names."""
        return cls(text.removeprefix("-"), text.startswith("-"))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns to order by, the id last."""
        return ("id",) if self.field == "id" else (*self.field.split(","), "id")

    def by(self, *, backward: bool) -> list[str]:
        """The arguments of ``order_by``."""
        sign = "-" if self.descending != backward else ""
        return [sign + column for column in self.columns]

    def beyond(self, queryset: QuerySet[Any], position: Sequence[Any], *, backward: bool) -> QuerySet[Any]:
        """The rows after ``position``, by a comparison of row values, which can use an index on the columns."""
        smaller = self.descending != backward
        if len(self.columns) == 1:
            return queryset.filter(**{"id__lt" if smaller else "id__gt": position[0]})
        row = Func(*(F(column) for column in self.columns), function="ROW", output_field=BooleanField())
        place = Func(*position, function="ROW", output_field=BooleanField())
        return queryset.filter((LessThan if smaller else GreaterThan)(row, place))


class PageQuery(Query):
    """The query parameters of a page."""

    limit = WholeField(default=DEFAULT_LIMIT, min_value=1, max_value=MAX_LIMIT, help_text="Page size.")
    cursor = serializers.CharField(
        default="", max_length=2000, trim_whitespace=False, help_text="From `next` or `previous` of another page."
    )


_PARAMETERS = ("limit", "cursor")


class KeysetPagination(BasePagination):
    """``{"results", "next", "previous"}`` in one query, newest first unless the view's query has another ordering.

    ``ordering`` of the view is the default. A page consists of rows if there is a `Reader` for the serializer,
    otherwise of model instances.
    """

    ordering = "-id"

    def paginate_queryset(self, queryset: QuerySet[Any], request: Request, view: Any = None) -> list[Any]:  # type: ignore[override]
        """The page that the request asks for. Raises InvalidInput for an invalid cursor."""
        self._request, model = request, queryset.model
        limit, cursor = self._parameters(request)
        ordering = Ordering.parse(self.get_ordering(view))
        self._scope = f"{model._meta.label}:{ordering.field}:{ordering.descending}:".encode()
        backward, position = _read_cursor(queryset, cursor, ordering, self._scope) if cursor else (False, [])
        page = _Page(queryset, view, ordering, backward=backward, position=position)
        found = page.read(limit + 1)
        more, found = len(found) > limit, found[:limit]
        if backward:
            found = found[::-1]
        has_next = bool(found) and (backward or more)
        has_previous = bool(found) and (more if backward else bool(position))
        self._next = self._link(page.position_of(found[-1]), backward=False) if has_next else None
        self._previous = self._link(page.position_of(found[0]), backward=True) if has_previous else None
        return page.shown(found)

    def get_ordering(self, view: Any) -> str:
        """The column to order by, with ``-`` for descending. The view's ``ordering`` may be a list of one."""
        query = _query_of(view)
        found = (query.order if query is not None else None) or getattr(view, "ordering", None) or self.ordering
        return found if isinstance(found, str) else found[0]

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"results": data, "next": self._next, "previous": self._previous})

    def get_results(self, data: dict[str, Any]) -> Any:
        return data["results"]

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        limit = {"type": "integer", "maximum": MAX_LIMIT, "minimum": 1, "default": DEFAULT_LIMIT}
        cursor = {"type": "string", "minLength": 1, "maxLength": 2000}
        found = "From `next` or `previous` of another page."
        return [
            {"in": "query", "name": "limit", "schema": limit, "description": "Page size."},
            {"in": "query", "name": "cursor", "schema": cursor, "description": found},
        ]

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["results", "next", "previous"],
            "properties": {
                "results": schema,
                "next": {**link, "description": "The next page."},
                "previous": {**link, "description": "The previous page."},
            },
        }

    def _parameters(self, request: Request) -> tuple[int, str]:
        """Limit and cursor. Raises ValidationError."""
        given = {name: request.query_params[name] for name in _PARAMETERS if name in request.query_params}
        if not given:
            return DEFAULT_LIMIT, ""
        query = PageQuery(data=given)
        query.is_valid(raise_exception=True)
        return query.validated_data["limit"], query.validated_data["cursor"]

    def _link(self, position: Sequence[Any], *, backward: bool) -> str:
        """The URL of the page after a position, or before it."""
        query = self._request.query_params.copy()
        query["cursor"] = _cursor(self._scope, position, backward)
        return f"{self._request.build_absolute_uri(self._request.path)}?{query.urlencode()}"


def _query_of(view: Any) -> Query | None:
    return view.query if getattr(view, "query_class", None) is not None else None


class _Page:
    """The rows of one page, selected by a `Reader`, or model instances if there is no reader."""

    def __init__(
        self, queryset: QuerySet[Any], view: Any, ordering: Ordering, *, backward: bool, position: Sequence[Any]
    ) -> None:
        self._queryset, self._view = queryset, view
        self._ordering, self._backward, self._position = ordering, backward, position
        is_ours, model = hasattr(view, "get_reader"), queryset.model
        self._reader: Reader | None = view.get_reader(model) if is_ours else reader_for(view.get_serializer(), model)
        self._values: Mapping[str, Any] | None = view.declared_values(queryset) if is_ours else None

    def read(self, limit: int) -> list[Any]:
        """At most ``limit`` rows after the position."""
        if self._reader is not None and self._values is not None:
            found = self._declared(self._view.queryset, self._reader, self._values)
            place = dict(zip(map(_place, self._ordering.columns), self._position, strict=False))
            return list(found.rows({**place, **self._values}, limit, plan_once=not self._values))
        query = _query_of(self._view)
        branches = query.branches(self._queryset) if query is not None else []
        parts = [self._built(self._queryset.filter(**branch))[:limit] for branch in branches]
        if not parts:
            return list(self._built(self._queryset)[:limit])
        merged = parts[0].union(*parts[1:], all=True)
        return list(merged.order_by(*self._ordering.by(backward=self._backward))[:limit])

    def position_of(self, found: Any) -> tuple[Any, ...]:
        if self._reader is not None:
            return self._reader.rest(found)
        return tuple(getattr(found, column) for column in self._ordering.columns)

    def shown(self, found: Sequence[Any]) -> list[Any]:
        """The rows, or instances, that the serializer represents."""
        return list(found) if self._reader is None else [self._reader.read(row) for row in found]

    def _declared(self, queryset: QuerySet[Any], reader: Reader, lookups: Iterable[str]) -> Statement:
        key = queryset, reader, self._ordering, self._backward, bool(self._position), tuple(lookups)

        def build() -> QuerySet[Any, Any]:
            place = [Slot(_place(name), field) for name, field in self._fields()]
            return self._built(with_slots(queryset, lookups), place)

        return statement(key, build)

    def _fields(self) -> list[tuple[str, Any]]:
        return [(column, _field(self._queryset, column)) for column in self._ordering.columns]

    def _built(self, queryset: QuerySet[Any], place: Sequence[Any] | None = None) -> QuerySet[Any, Any]:
        """``queryset`` ordered, and restricted to the rows after the position.

        ``place`` are slots for the values of the position; without it, the values themselves are used.
        """
        ordered = queryset.order_by(*self._ordering.by(backward=self._backward))
        if self._position:
            fields = zip(self._position, self._fields(), strict=True)
            place = place or [Value(value, output_field=field) for value, (_, field) in fields]
            ordered = self._ordering.beyond(ordered, place, backward=self._backward)
        return ordered if self._reader is None else self._reader.select(ordered, *self._ordering.columns)


def _place(column: str) -> str:
    """The name of the slot for a value of the cursor. A filter on the same column has another slot."""
    return f"place {column}"


def _cursor(scope: bytes, position: Sequence[Any], backward: bool) -> str:
    payload = msgspec.json.encode([backward, [str(value) for value in position]], enc_hook=str)
    return _text(_signature(scope, payload) + payload)


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _field(queryset: QuerySet[Any], column: str) -> Any:
    """The field of a column, or the output field of an annotation or of a generated column."""
    annotation = queryset.query.annotations.get(column)
    if annotation is not None:
        return annotation.output_field
    found: Any = queryset.model._meta.get_field(column)
    return found.output_field if found.generated else found


def _read_cursor(queryset: QuerySet[Any], cursor: str, ordering: Ordering, scope: bytes) -> tuple[bool, list[Any]]:
    """Decode a cursor into its direction (backward?) and position. Raises InvalidInput."""
    try:
        raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        if _text(raw) != cursor:  # the decoder ignores invalid characters and surplus bits
            raise ValueError
        signature, payload = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, _signature(scope, payload)):
            raise ValueError
        backward, texts = msgspec.json.decode(payload)
        fields = [_field(queryset, column) for column in ordering.columns]
        return backward, [field.to_python(text) for field, text in zip(fields, texts, strict=True)]
    except (ValueError, msgspec.MsgspecError):
        raise InvalidInput.field("cursor", "Not a cursor of this list with this ordering.") from None


def _signature(scope: bytes, payload: bytes) -> bytes:
    key = b"cursor:" + settings.SECRET_KEY.encode()
    return hmac.digest(key, scope + payload, "sha256")[:_SIGNATURE_BYTES]
