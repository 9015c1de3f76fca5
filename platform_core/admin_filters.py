"""Filters for the lists of the admins: a range of days, a choice, a typed value. A bad value gets a clear message.

They are fields of the list's filter form, so a list that uses them sets ``list_filter_submit``.
"""

from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from platform_core.vocabulary import MAX_ID

Rows = QuerySet[Any]
FIELD_TEMPLATE = "admin/filter_fields.html"


def complain(request: HttpRequest, rows: Rows, text: str) -> Rows:
    """No rows, and a message that says why."""
    messages.error(request, text)
    return rows.none()


class CannotFilter(Exception):
    """Raised by `ValueFilter.matching`: the value cannot be used now. The message says why."""


def id_of(text: str) -> int | None:
    """The id that a text stands for; None if it is none that a row can have."""
    return int(text) if text.isascii() and text.isdigit() and int(text[:20]) <= MAX_ID and len(text) <= 19 else None


class DaysFilter(admin.FieldListFilter):
    """From one day to another, both included, in the shop's time zone. The column needs an index.

    A list whose order is not that of the column sorts by the column while this filter is used
    (`PlatformAdmin.get_ordering`): the index then gives the page without reading what lies outside.
    """

    template = FIELD_TEMPLATE

    def __init__(
        self, field: Any, request: HttpRequest, params: Any, model: Any, model_admin: Any, field_path: str
    ) -> None:
        self.names = {"from": f"{field_path}_from", "to": f"{field_path}_to"}
        super().__init__(field, request, params, model, model_admin, field_path)

    def expected_parameters(self) -> list[str | None]:
        """The two parameters of the query string."""
        return list(self.names.values())

    def text(self, end: str) -> str:
        """What was given for ``from`` or ``to``."""
        given = self.used_parameters.get(self.names[end]) or ""
        return str(given[-1] if isinstance(given, list) else given).strip()

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        """The rows of those days."""
        for end, lookup, days in (("from", "gte", 0), ("to", "lt", 1)):
            text = self.text(end)
            if not text:
                continue
            try:
                day = date.fromisoformat(text) + timedelta(days=days)
            except (ValueError, OverflowError):
                return complain(request, queryset, f"{self.title}, {end}: {text!r} is no day. Write it as 2026-01-31.")
            begin = datetime.combine(day, time.min, ZoneInfo(settings.SHOP_TIME_ZONE))
            queryset = queryset.filter(**{f"{self.field_path}__{lookup}": begin})
        return queryset

    def choices(self, changelist: Any) -> Iterator[Any]:
        """The two fields."""
        labels = (("from", f"{self.title}, from"), ("to", f"{self.title}, to"))
        yield {"fields": [_field("date", self.names[end], label, self.text(end)) for end, label in labels]}


class ValueFilter(admin.SimpleListFilter):
    """A typed value. A subclass has ``title``, ``parameter_name``, ``hint``, and finds the rows in `matching`."""

    template = FIELD_TEMPLATE
    hint = "a number"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """None: any value may be typed."""
        return ()

    def has_output(self) -> bool:
        """Always: the field is there without choices."""
        return True

    def matching(self, rows: Rows, text: str) -> Rows | None:
        """The rows for a value; None if it is not what ``hint`` says. Raises CannotFilter."""
        raise NotImplementedError

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        """The rows for the given value, all rows without one."""
        text = (self.value() or "").strip()
        if not text:
            return queryset
        try:
            found = None if "\0" in text else self.matching(queryset, text)
        except CannotFilter as error:
            return complain(request, queryset, f"{self.title}: {error}")
        return complain(request, queryset, f"{self.title}: expected {self.hint}.") if found is None else found

    def choices(self, changelist: Any) -> Iterator[Any]:
        """The field."""
        yield {"fields": [_field("text", str(self.parameter_name), f"{self.title} ({self.hint})", self.value() or "")]}


class ChoiceFilter(ValueFilter):
    """One of some choices, in a select. A subclass has ``options``: the values and their names."""

    options: Iterable[tuple[str, str]] = ()

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        """The rows for the chosen value, all rows without one."""
        known = [value for value, _ in self.options]
        if self.value() and self.value() not in known:
            return complain(request, queryset, f"{self.title}: expected one of {', '.join(known)}.")
        return super().queryset(request, queryset)

    def choices(self, changelist: Any) -> Iterator[Any]:
        """The field."""
        field = _field("select", str(self.parameter_name), str(self.title), self.value() or "")
        yield {"fields": [{**field, "options": [("", "any"), *self.options]}]}


def _field(kind: str, name: str, label: str, value: str) -> dict[str, Any]:
    return {"kind": kind, "name": name, "label": label[:1].upper() + label[1:], "value": value}
