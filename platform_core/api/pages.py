"""Keyset pages: a cursor names the last row seen, so page 10,000 costs what page 1 costs, and nothing is counted."""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec
from django.conf import settings
from django.db.models import F, Model, QuerySet
from django.db.models.fields.tuple_lookups import TupleGreaterThan, TupleLessThan
from rest_framework.request import Request

from platform_core.api.compiled import Values, compiled
from platform_core.api.reading import Reader
from platform_core.errors import InvalidInput

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
_SIGNATURE_BYTES = 9


@dataclass(frozen=True, slots=True)
class Ordering:
    """Rows by ``field``, ties by id in the same direction. ``field`` "id" alone is the order of creation."""

    field: str = "id"
    descending: bool = True

    @classmethod
    def parse(cls, text: str) -> "Ordering":
        return cls(text.removeprefix("-"), text.startswith("-"))

    @property
    def columns(self) -> tuple[str, ...]:
        return ("id",) if self.field == "id" else (self.field, "id")

    def apply(self, queryset: QuerySet[Any], *, backward: bool) -> QuerySet[Any]:
        sign = "-" if self.descending != backward else ""
        return queryset.order_by(*(sign + column for column in self.columns))

    def beyond(self, queryset: QuerySet[Any], position: list[Any], *, backward: bool) -> QuerySet[Any]:
        """Rows behind ``position``, by a comparison of row values, which an index on the columns serves."""
        smaller = self.descending != backward
        if len(self.columns) == 1:
            return queryset.filter(**{"id__lt" if smaller else "id__gt": position[0]})
        lookup = TupleLessThan if smaller else TupleGreaterThan
        return queryset.filter(lookup(tuple(F(column) for column in self.columns), tuple(position)))


NEWEST_FIRST = Ordering()


@dataclass(frozen=True, slots=True)
class Listing:
    """The rows of ``model`` that ``find(**arguments)`` finds, of those that have the values of ``narrowing``.

    ``find`` may only hand its arguments on to the queryset.
    """

    model: type[Model]
    reader: Reader
    find: Callable[..., QuerySet[Any]]
    arguments: Values
    narrowing: Values


def page(request: Request, listing: Listing, *, limit: int, cursor: str, ordering: Ordering) -> dict[str, Any]:
    """``{"results", "next", "previous"}`` in one query. Raises InvalidInput for a cursor that is not ours."""
    scope = f"{listing.model._meta.label}:{ordering.field}:{ordering.descending}:".encode()
    backward, position = _read_cursor(listing.model, cursor, ordering, scope) if cursor else (False, [])
    found = _rows(listing, ordering, backward, position, limit + 1)
    more = len(found) > limit
    found = found[:limit]
    if backward:
        found = found[::-1]
    has_next = bool(found) and (backward or more)
    has_previous = bool(found) and (more if backward else bool(position))
    link = _linked(request, scope) if has_next or has_previous else None
    rest = listing.reader.rest
    return {
        "results": [listing.reader.read(row) for row in found],
        "next": link(rest(found[-1]), False) if link and has_next else None,
        "previous": link(rest(found[0]), True) if link and has_previous else None,
    }


def _rows(
    listing: Listing, ordering: Ordering, backward: bool, position: list[Any], limit: int
) -> Sequence[tuple[Any, ...]]:
    parts = [listing.arguments, listing.narrowing, {str(number): value for number, value in enumerate(position)}]
    values = {f"{part}.{name}": value for part, named in enumerate(parts) for name, value in named.items()}

    def build(values: Values) -> QuerySet[Any, Any]:
        arguments, narrowing, place = ({name: values[f"{n}.{name}"] for name in part} for n, part in enumerate(parts))
        queryset = ordering.apply(listing.find(**arguments).filter(**narrowing), backward=backward)
        if place:
            queryset = ordering.beyond(queryset, list(place.values()), backward=backward)
        return listing.reader.select(queryset, *ordering.columns)

    name = listing.find, listing.reader, ordering, backward
    everything = not listing.arguments and not listing.narrowing
    return compiled(name, build, values).rows(values, limit, one_plan=everything)


def _linked(request: Request, scope: bytes) -> Callable[[tuple[Any, ...], bool], str]:
    """The URL of the page behind a position, or before it."""
    here, query = request.build_absolute_uri(request.path), request.query_params.dict()
    return lambda position, backward: f"{here}?{urlencode({**query, 'cursor': _cursor(scope, position, backward)})}"


def _cursor(scope: bytes, position: tuple[Any, ...], backward: bool) -> str:
    payload = msgspec.json.encode([backward, [str(value) for value in position]], enc_hook=str)
    return _text(_signature(scope, payload) + payload)


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _read_cursor(model: type[Model], cursor: str, ordering: Ordering, scope: bytes) -> tuple[bool, list[Any]]:
    try:
        raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        if _text(raw) != cursor:  # the decoder passes over strange characters and surplus bits
            raise ValueError
        signature, payload = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, _signature(scope, payload)):
            raise ValueError
        backward, texts = msgspec.json.decode(payload)
        fields: list[Any] = [model._meta.get_field(column) for column in ordering.columns]
        return backward, [field.to_python(text) for field, text in zip(fields, texts, strict=True)]
    except (ValueError, msgspec.MsgspecError):
        raise InvalidInput.field("cursor", "Not a cursor of this list, in this order.") from None


def _signature(scope: bytes, payload: bytes) -> bytes:
    key = b"cursor:" + settings.SECRET_KEY.encode()
    return hmac.digest(key, scope + payload, "sha256")[:_SIGNATURE_BYTES]
