"""Reads numbers as people and spreadsheets write them."""

import re
from collections.abc import Callable
from decimal import Decimal

from django.conf import settings

POINT, COMMA = "point", "comma"
_GROUPED = r"[1-9]\d{0,2}(?:(?P<group>[%s'’ \u00a0\u202f])\d{3})(?:(?P=group)\d{3})*"
_MARKS = {POINT: (".", ","), COMMA: (",", ".")}
"""The decimal mark and the usual mark between thousands."""
_FORMS = {
    name: re.compile(rf"[+-]?(?:\d+|{_GROUPED % re.escape(group)})(?:{re.escape(mark)}\d*)?", re.ASCII)
    for name, (mark, group) in _MARKS.items()
}
_PLAIN = {
    POINT: re.compile(r"\d+(\.\d{1,2})?", re.ASCII),
    COMMA: re.compile(r"\d+", re.ASCII),
    None: re.compile(r"\d+(\.\d{1,2})?", re.ASCII),
}
_CODE = re.compile(r"(?:([A-Z]{3})\s?)?([^A-Z]*\d[^A-Z]*?)(?:\s?([A-Z]{3}))?")


def reader(decimal: str | None, places: int) -> Callable[[str], str]:
    """Returns a function that turns the text of a number into digits with a decimal point.

    ``decimal`` is POINT, COMMA, or None if the file does not say; then a text that reads two ways raises ValueError
    with both readings. Zeros after the last of ``places`` decimals are dropped. The code of the shop's currency before
    or after the number is dropped, another one raises ValueError. A text that is no number is returned as it is,
    unless another decimal mark would make it one.
    """
    is_plain = _PLAIN[decimal].fullmatch

    def read(text: str) -> str:
        if is_plain(text) and (places or "." not in text):
            return text
        readings = _readings(_without_currency(text))
        if decimal:
            if readings and decimal not in readings:
                raise ValueError(f"{text!r} is not a number with a decimal {decimal}")
            readings = {decimal: readings[decimal]} if readings else {}
        if not readings:
            return text
        one, *others = (_trimmed(reading, places) for reading in readings.values())
        if any(Decimal(other) != Decimal(one) for other in others):
            both = " or ".join(f"{value} (--decimal {name})" for name, value in readings.items())
            raise ValueError(f"{text!r} reads two ways: {both}")
        return one

    return read


def _readings(text: str) -> dict[str, str]:
    """The number that ``text`` is with a decimal point, with a decimal comma, or both."""
    found = {}
    for name, form in _FORMS.items():
        if form.fullmatch(text):
            mark, _ = _MARKS[name]
            whole, _, fraction = text.partition(mark)
            digits = "".join(each for each in whole if each in "+-0123456789")
            found[name] = f"{digits}.{fraction}" if fraction else digits
    return found


def _trimmed(number: str, places: int) -> str:
    whole, _, fraction = number.partition(".")
    fraction = fraction[:places] + fraction[places:].rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


def _without_currency(text: str) -> str:
    match = _CODE.fullmatch(text)
    codes = {code for code in (match[1], match[3]) if code} if match else set()
    if match is None or not codes:
        return text
    if codes != {settings.CURRENCY}:
        raise ValueError(f"{text!r} is not in {settings.CURRENCY}, the shop's currency")
    return match[2].strip()
