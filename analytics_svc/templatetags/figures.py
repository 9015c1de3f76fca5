"""Formats of the dashboard's figures."""

from datetime import date, datetime
from typing import Any

from django import template
from django.utils.timezone import now

from platform_core.outbox import DEPTH_BOUND

register = template.Library()
_SIZES = ((17, "huge"), (13, "longest"), (9, "long"))
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@register.filter
def count(number: int) -> str:
    return f"{number:,}"


@register.filter
def counted(number: int) -> str:
    """A number that is only counted up to a limit."""
    return f"{number:,}+" if number >= DEPTH_BOUND else f"{number:,}"


@register.filter
def day(date: date) -> str:
    return f"{date:%a} {date.day} {date:%b %Y}"


@register.filter
def clock(moment: datetime | None) -> str:
    """The time, with the day if it is not today. A report that has never read its feeds gives the epoch."""
    if moment is None or moment.year == 1970:
        return "never"
    other_day = "" if moment.date() == now().date() else f"{day(moment)}, "
    return f"{other_day}{moment:%H:%M:%S} UTC"


@register.filter
def duration(seconds: float) -> str:
    """A duration in the largest unit that fits."""
    size, unit = next((each for each in _UNITS if seconds >= each[0]), (1, "s"))
    return f"{int(seconds // size)} {unit}"


@register.filter
def milliseconds(number: float) -> str:
    return f"{number:.0f} ms" if number >= 1 else "< 1 ms"


@register.filter
def size(text: str) -> str:
    """The length class of a tile's figure. The stylesheet uses a smaller font for long ones."""
    return next((name for length, name in _SIZES if len(text) > length), "short")


@register.filter
def of(part: Any, whole: Any) -> str:
    """A share in percent, for the length of a bar."""
    return f"{100 * float(part) / float(whole):.2f}" if whole else "0"


_MUCH = 1000
"""Percent from which on a growth says nothing: before, there was next to nothing."""


@register.filter
def growth(present: Any, before: Any) -> str:
    """The change in percent since the period before, such as ``+12 %``. Empty if that period had nothing."""
    if not before:
        return ""
    percent = round(100 * (float(present) - float(before)) / float(before))
    if percent > _MUCH:
        return f"over +{_MUCH:,} %"
    return f"{percent:+,} %" if percent else "±0 %"


_REASONS = {
    "insufficient_stock": "too little stock",
    "unknown_product": "unknown product",
    "unavailable": "a service did not answer",
    "abandoned": "given up by recovery",
    "other": "another reason",
    "unknown": "reason not recorded",
}


@register.filter
def reason(code: str) -> str:
    """Why orders were rejected, in words."""
    return _REASONS.get(code, code)
