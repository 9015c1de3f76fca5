"""Texts in CSV. Spreadsheets run a cell that begins with = + - or @ as a formula, so such a text gets an apostrophe."""

import re
from typing import Any

_GUARDED = re.compile("'+[=+@＝＋－＠-]")
_DANGEROUS = re.compile("'*[=+@＝＋－＠-]")


def guarded(value: Any) -> Any:
    """A text that a spreadsheet would run gets an apostrophe in front. Other values are returned as they are."""
    return f"'{value}" if isinstance(value, str) and _DANGEROUS.match(value) else value


def unguarded(cell: str) -> str:
    """The text without the apostrophe that `guarded` put in front."""
    return cell[1:] if _GUARDED.match(cell) else cell
