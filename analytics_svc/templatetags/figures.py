"""How the dashboard writes figures; static/analytics_svc/dashboard.js writes them the same way when it renews them."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django import template
from django.utils.timezone import now

from platform_core.outbox import DEPTH_BOUND

register = template.Library()
_SIZES = ((17, "huge"), (13, "longest"), (9, "long"))
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@register.filter
def money(amount: Decimal) -> str:
    """To the cent, without a currency: the figures do not know it."""
    return f"{amount:,.2f}"


@register.filter
def count(number: int) -> str:
    return f"{number:,}"


@register.filter
def counted(number: int) -> str:
    """What is counted up to a bound only."""
    return f"{number:,}+" if number >= DEPTH_BOUND else f"{number:,}"


@register.filter
def day(date: date) -> str:
    return f"{date:%a} {date.day} {date:%b %Y}"


@register.filter
def clock(moment: datetime | None) -> str:
    """The time, and the day when it is not today's; the epoch is what a report says that never saw its feeds."""
    if moment is None or moment.year == 1970:
        return "never"
    other_day = "" if moment.date() == now().date() else f"{day(moment)}, "
    return f"{other_day}{moment:%H:%M:%S} UTC"


@register.filter
def duration(seconds: float) -> str:
    """In the largest unit that fits."""
    size, unit = next((each for each in _UNITS if seconds >= each[0]), (1, "s"))
    return f"{int(seconds // size)} {unit}"


@register.filter
def milliseconds(number: float) -> str:
    return f"{number:.0f} ms" if number >= 1 else "< 1 ms"


@register.filter
def size(text: str) -> str:
    """How much room a tile's figure wants; the stylesheet makes long ones smaller."""
    return next((name for length, name in _SIZES if len(text) > length), "short")


@register.filter
def of(part: Any, whole: Any) -> str:
    """A share in per cent, for a bar's length."""
    return f"{100 * float(part) / float(whole):.2f}" if whole else "0"
