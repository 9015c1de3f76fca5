"""Serializer fields for the basic types of the API. Every value has a bound."""

import copy
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from rest_framework import serializers

from platform_core.conf import decimals, rounded
from platform_core.vocabulary import MAX_ID

_CONTAINERS = frozenset((dict, list, set))
_PLAIN = frozenset((serializers.BooleanField, serializers.CharField, serializers.ChoiceField, serializers.IntegerField))
"""Fields of DRF that a copy of their attributes copies completely. Subclasses may hold more."""
_DIGITS = re.compile(r"[0-9]{1,19}", re.ASCII)
_WHOLE = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?", re.ASCII)


class CheapCopy:
    """Copies a declared field by copying its attributes.

    DRF copies the declared fields for every serializer by constructing each of them again, which took half of a
    validation's time. A field that already belongs to a serializer is copied by DRF's
    own way, because the copy must not belong to that serializer.
    """

    parent: Any

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if self.parent is not None:
            return super().__deepcopy__(memo)  # type: ignore[misc]
        return _with_attributes_of(self)


def copy_of(declared: Any) -> Any:
    """A copy of a declared field for one serializer: by its attributes if nothing else belongs to it, else DRF's."""
    if isinstance(declared, CheapCopy):
        return declared.__deepcopy__({})
    if type(declared) in _PLAIN and declared.parent is None:
        return _with_attributes_of(declared)
    return copy.deepcopy(declared)


def _with_attributes_of(declared: Any) -> Any:
    copied = object.__new__(type(declared))
    attributes = vars(declared).items()
    vars(copied).update({name: value.copy() if type(value) in _CONTAINERS else value for name, value in attributes})
    return copied


class IdField(CheapCopy, serializers.Field[int, Any, str, Any]):
    """An id. Answers contain a string of digits; requests may contain `"1"` or `1`."""

    default_error_messages = {"invalid": "Expected an id: a whole number or a string of digits."}

    def to_internal_value(self, data: Any) -> int:
        text = str(data) if isinstance(data, int) and not isinstance(data, bool) else data
        if not isinstance(text, str) or not _DIGITS.fullmatch(text) or int(text) > MAX_ID:
            self.fail("invalid")
        return int(text)

    def to_representation(self, value: Any) -> str:
        return str(value)


class WholeField(CheapCopy, serializers.IntegerField):
    """An integer, or a string of ASCII digits. (``int`` would also accept "1_0" and "١".)"""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, Decimal) and data.adjusted() < 19 and data == data.to_integral_value():
            return int(data)  # 5.0 and 1e2
        if isinstance(data, bool) or not isinstance(data, int | str):
            self.fail("invalid")
        if isinstance(data, str) and not _WHOLE.fullmatch(data):
            self.fail("invalid")
        return int(data)


class StringField(CheapCopy, serializers.CharField):
    """A string, trimmed. Refuses other types, which DRF would convert, and NUL, which Postgres cannot store."""

    default_error_messages = {"one_line": "Expected one line, without control characters."}

    def __init__(self, *, one_line: bool = True, **kwargs: Any) -> None:
        self.one_line = one_line
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        text = super().to_internal_value(data)
        if self.one_line and any(ord(character) < 32 or ord(character) == 127 for character in text):
            self.fail("one_line")
        return text


class OptionalStringField(StringField):
    """A string that may be empty. A missing member and null mean empty."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"allow_blank": True, "default": "", **kwargs})

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        return (True, "") if data is None else super().validate_empty_values(data)


class MoneyField(CheapCopy, serializers.DecimalField):
    """An amount of money: not negative, with no more decimals than the shop's currency has.

    It is a JSON number in answers and a Decimal in Python. In a currency without decimals `100.0` is accepted, because
    many languages write whole numbers like that.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"max_digits": 12, "decimal_places": 2, "min_value": Decimal(0), **kwargs})

    def to_internal_value(self, data: Any) -> Decimal:
        if not isinstance(data, int | str | Decimal) or isinstance(data, bool):
            self.fail("invalid")
        if isinstance(data, str) and not _NUMBER.fullmatch(data.strip()):
            self.fail("invalid")
        value: Decimal = super().to_internal_value(data)
        if decimals() == 0 and value != value.to_integral_value():
            self.fail("max_decimal_places", max_decimal_places=0)
        return abs(value) if value == 0 else value  # -0 is 0

    def to_representation(self, value: Any) -> Any:
        return rounded(value)


class CurrencyField(CheapCopy, serializers.CharField):
    """The shop's currency, for answers. Instances have it as an attribute."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(read_only=True, help_text="As in ISO 4217.", **kwargs)

    def to_representation(self, value: Any) -> str:
        return str(value)


class TimestampField(CheapCopy, serializers.DateTimeField):
    """A time in RFC 3339, with `Z` or an offset. A ``+`` that a query string turned into a space is restored."""

    default_error_messages = {"no_zone": "Expected a time with a zone, such as 2030-01-31T12:00:00Z."}

    def to_internal_value(self, value: Any) -> datetime:
        text = value.replace(" ", "+") if isinstance(value, str) and "T" in value else value
        parsed: datetime = super().to_internal_value(text)
        try:
            return parsed.astimezone(UTC)
        except OverflowError:  # at either end of the calendar
            self.fail("invalid", format="RFC 3339")

    def enforce_timezone(self, value: datetime) -> datetime:
        """The time itself; one without a zone is an error, because it may mean any of a day's moments."""
        if value.tzinfo is None:
            self.fail("no_zone")
        return value
