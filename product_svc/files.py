"""The catalog as a file: CSV with a header, or JSON Lines. An invalid line does not affect the other lines.

Spreadsheets run a cell that begins with = + - or @ as a formula. In CSV such a text is written with an apostrophe in
front, which is removed when the file is read.
"""

import csv
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import msgspec
from rest_framework.serializers import CharField

from platform_core.api import decode, encode
from product_svc.serializers import ProductSerializer

ID = "id"
_FIRST = ("sku", "name", "price", "stock", "category", "description")
"""The original columns in their order. Columns that were added later follow them."""
_FIELDS = {name: field for name, field in ProductSerializer().fields.items() if not field.read_only}
FIELDS = (*_FIRST, *(name for name in _FIELDS if name not in _FIRST))
"""The columns that an import changes."""
COLUMNS = (ID, *FIELDS)
REQUIRED = tuple(name for name in FIELDS if _FIELDS[name].required)
SOURCES = {name: str(_FIELDS[name].source) for name in FIELDS}
"""The attribute of a product for each column; the id is its primary key."""
_BY_LOWER_NAME = {name.lower(): name for name in COLUMNS}
CSV, JSON_LINES = "csv", "jsonl"
ENDINGS = {".csv": CSV, ".jsonl": JSON_LINES, ".ndjson": JSON_LINES}
REJECTS = ".rejects"
REJECTED = "#rejected "
"""Prefix of a line with the reasons why the record below it was rejected. Such lines are skipped when reading."""
MAX_LINE = 2**20
"""Maximum length of a line in characters. A longer line stops the import."""
MAX_RECORD = 2**16
"""Maximum length in characters of a record with several lines. It limits the effect of an unclosed quote."""
_GUARDED = re.compile("'+[=+@＝＋－＠-]")
_DANGEROUS = re.compile("'*[=+@＝＋－＠-]")


class FileError(Exception):
    """The file cannot be read any further. The message says why."""


class Record(NamedTuple):
    """A record: the number of its first line, its unchanged text, and its values or the problem with them."""

    number: int
    raw: str
    values: Any = None
    problem: str = ""


def format_of(path: Path) -> str | None:
    """The format, from the file's suffix. A file of rejects has the format of its original."""
    name = Path(path.name.removesuffix(REJECTS))
    return ENDINGS.get(name.suffix.lower())


class _Lines:
    """The lines of a text. The lines of a record that does not end can be put back."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.given_back: deque[str] = deque()
        self.number = 0

    def next(self) -> str:
        """The next line with its line ending. Empty at the end of the file."""
        line = self.given_back.popleft() if self.given_back else self.stream.readline(MAX_LINE + 1)
        self.number += bool(line)
        if len(line) > MAX_LINE:
            raise FileError(f"line {self.number}: longer than {MAX_LINE:,} characters")
        return line

    def give_back(self, lines: Sequence[str]) -> None:
        self.given_back.extendleft(reversed(lines))
        self.number -= len(lines)

    def rest_of_record(self, first: str, taken: list[str]) -> Iterator[str]:
        """Yields the lines from ``first`` on and appends them to ``taken``."""
        line = first
        while line:
            taken.append(line)
            if len(taken) > 1 and sum(map(len, taken)) > MAX_RECORD:
                raise csv.Error("a quote is not closed")
            yield line
            line = self.next()

    def __iter__(self) -> Iterator[str]:
        """Yields the lines, without blank lines and lines with reasons of a rejection."""
        while line := self.next():
            if line.strip() and not line.startswith(REJECTED):
                yield line


def read(stream: TextIO, kind: str) -> tuple[str, Iterator[Record]]:
    """Returns the unchanged header (empty if the format has none) and the records.

    ``stream`` must be opened with ``newline=""`` and ``errors="surrogateescape"``. Raises FileError, also while the
    records are read.
    """
    lines = _Lines(stream)
    if kind == JSON_LINES:
        return "", (_checked(Record(lines.number, line), _parsed) for line in lines)
    header, names = _header(lines)
    return header, _csv_records(lines, names)


def _checked(record: Record, parse: Callable[[str], Any]) -> Record:
    try:
        record.raw.encode()
        return record._replace(values=parse(record.raw))
    except UnicodeEncodeError:
        return record._replace(problem="not UTF-8")
    except (msgspec.MsgspecError, csv.Error, RecursionError, ValueError, ArithmeticError) as error:
        return record._replace(problem=str(error))


def _parsed(line: str) -> Any:
    values = decode(line)
    if isinstance(values, dict) and (unknown := [name for name in values if name not in COLUMNS]):
        raise ValueError(f"{unknown[0]!r} is unknown; the columns are {', '.join(COLUMNS)}")
    return values


def _header(lines: _Lines) -> tuple[str, list[str]]:
    line = next(iter(lines), "")
    record = _checked(Record(lines.number, line), lambda raw: next(csv.reader([raw], strict=True), []))
    cells = [cell.strip().lower() for cell in record.values or []]
    names = [_BY_LOWER_NAME.get(cell, cell) for cell in cells]
    unknown = [name for name in names if name not in COLUMNS]
    missing = [name for name in REQUIRED if name not in names]
    if record.problem or not names:
        problem = record.problem or "there is none"
    elif unknown:
        problem = f"the column {unknown[0]!r} is unknown; the columns are {', '.join(COLUMNS)}, separated by commas"
    elif missing:
        problem = f"the column {missing[0]!r} is missing"
    elif len(set(names)) < len(names):
        problem = "a column appears twice"
    else:
        return line, names
    raise FileError(f"line {max(lines.number, 1)}: expected a header: {problem}")


def _csv_records(lines: _Lines, names: Sequence[str]) -> Iterator[Record]:
    for first in lines:
        number, taken, problem, cells = lines.number, list[str](), "", list[str]()
        try:
            cells = next(csv.reader(lines.rest_of_record(first, taken), strict=True, skipinitialspace=True))
        except csv.Error as error:
            problem = str(error)
            lines.give_back(taken[1:])
            del taken[1:]
        record = Record(number, "".join(taken), problem=problem)
        yield record if problem else _checked(record, lambda _, cells=cells: _values(names, cells))  # type: ignore[misc]


def _values(names: Sequence[str], cells: Sequence[str]) -> dict[str, str | None]:
    if len(cells) != len(names):
        raise ValueError(f"expected {len(names)} cells, found {len(cells)}")
    values = {name: _unguarded(cell.strip()) for name, cell in zip(names, cells, strict=True)}
    return {name: value or _EMPTY.get(name, "") for name, value in values.items() if value or name not in _SAY_NOTHING}


_NOT_TEXT = {name for name, field in _FIELDS.items() if not isinstance(field, CharField) and not field.required}
_EMPTY = {name: None for name in _NOT_TEXT if _FIELDS[name].allow_null}
"""The columns (numbers, dates and the like) for which an empty cell means null."""
_SAY_NOTHING = _NOT_TEXT - _EMPTY.keys()
"""The columns, such as the stock, that an empty cell leaves unchanged, as if the column were missing."""


def _guarded(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and _DANGEROUS.match(value) else value


def _unguarded(cell: str) -> str:
    return cell[1:] if _GUARDED.match(cell) else cell


def write(stream: TextIO, kind: str, products: Iterable[Mapping[str, Any]]) -> int:
    """Writes products, given as values by "pk" and `SOURCES`. Returns their number."""
    return _write_json(stream, products) if kind == JSON_LINES else _write_csv(stream, products)


def _write_json(stream: TextIO, products: Iterable[Mapping[str, Any]]) -> int:
    count = 0
    for count, product in enumerate(products, start=1):  # noqa: B007  # the last one is how many there are
        stream.write(encode(_shown(product)).decode() + "\n")
    return count


def _write_csv(stream: TextIO, products: Iterable[Mapping[str, Any]]) -> int:
    """Writes CSV (RFC 4180). All texts are quoted, so that no record looks like a line with reasons."""
    count = 0
    stream.write(",".join(COLUMNS) + "\r\n")
    writer = csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC)
    for count, product in enumerate(products, start=1):  # noqa: B007  # the last one is how many there are
        writer.writerow(["" if value is None else _guarded(value) for value in _shown(product).values()])
    return count


def _shown(product: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a product by column, formatted as in the API."""
    shown: dict[str, Any] = {ID: str(product["pk"])}
    for name, source in SOURCES.items():
        shown[name] = None if product[source] is None else _FIELDS[name].to_representation(product[source])
    return shown
