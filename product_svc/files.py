"""The catalog as a file: CSV with a header, or JSON Lines. A line that cannot be read costs no other line.

Of spreadsheets: they run a cell that begins with = + - or @ as a formula, so that in CSV such a text gets an apostrophe
in front, which reading takes away again.
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
"""The order of the columns that files have had from the beginning; columns that were added later follow."""
_FIELDS = {name: field for name, field in ProductSerializer().fields.items() if not field.read_only}
FIELDS = (*_FIRST, *(name for name in _FIELDS if name not in _FIRST))
"""The columns that an import takes over."""
COLUMNS = (ID, *FIELDS)
REQUIRED = tuple(name for name in FIELDS if _FIELDS[name].required)
SOURCES = {name: str(_FIELDS[name].source) for name in FIELDS}
"""The attribute of a product that each column shows; the id is its primary key."""
_BY_LOWER_NAME = {name.lower(): name for name in COLUMNS}
CSV, JSON_LINES = "csv", "jsonl"
ENDINGS = {".csv": CSV, ".jsonl": JSON_LINES, ".ndjson": JSON_LINES}
REJECTS = ".rejects"
REJECTED = "#rejected "
"""So begins a line that tells why the one below it was left out. Reading passes over it."""
MAX_LINE = 2**20
"""Characters. A longer one is no line, and ends the reading."""
MAX_RECORD = 2**16
"""Characters of a record of several lines, so that a quote that nobody closes swallows no more than that."""
_GUARDED = re.compile("'+[=+@＝＋－＠-]")
_DANGEROUS = re.compile("'*[=+@＝＋－＠-]")


class FileError(Exception):
    """The file cannot be read any further; the text says why."""


class Record(NamedTuple):
    """``number`` and ``raw``: of its first line, and all of it as it stands. ``problem``: why there are no values."""

    number: int
    raw: str
    values: Any = None
    problem: str = ""


def format_of(path: Path) -> str | None:
    """By the ending; a file of rejects is what its file was."""
    name = Path(path.name.removesuffix(REJECTS))
    return ENDINGS.get(name.suffix.lower())


class _Lines:
    """The lines of a text. Those of a record that does not end can be given back."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.given_back: deque[str] = deque()
        self.number = 0

    def next(self) -> str:
        """With its end; empty when there are no more."""
        line = self.given_back.popleft() if self.given_back else self.stream.readline(MAX_LINE + 1)
        self.number += bool(line)
        if len(line) > MAX_LINE:
            raise FileError(f"line {self.number}: longer than {MAX_LINE:,} characters")
        return line

    def give_back(self, lines: Sequence[str]) -> None:
        self.given_back.extendleft(reversed(lines))
        self.number -= len(lines)

    def rest_of_record(self, first: str, taken: list[str]) -> Iterator[str]:
        """The lines from ``first`` on, noted in ``taken``."""
        line = first
        while line:
            taken.append(line)
            if len(taken) > 1 and sum(map(len, taken)) > MAX_RECORD:
                raise csv.Error("a quote is not closed")
            yield line
            line = self.next()

    def __iter__(self) -> Iterator[str]:
        """Without those that are blank or tell why another one was left out."""
        while line := self.next():
            if line.strip() and not line.startswith(REJECTED):
                yield line


def read(stream: TextIO, kind: str) -> tuple[str, Iterator[Record]]:
    """The header as it stands (empty where the format has none), and the records.

    ``stream`` is opened with ``newline=""`` and ``errors="surrogateescape"``. Raises FileError, also on the way.
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
        raise ValueError(f"{unknown[0]!r} is unknown; known are {', '.join(COLUMNS)}")
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
        problem = f"the column {unknown[0]!r} is unknown; known are {', '.join(COLUMNS)}, with commas between them"
    elif missing:
        problem = f"the column {missing[0]!r} is missing"
    elif len(set(names)) < len(names):
        problem = "a column is there twice"
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
"""What an empty cell means for an optional number, date and the like: null where there can be one."""
_SAY_NOTHING = _NOT_TEXT - _EMPTY.keys()
"""An empty cell leaves these as they are, as if the column were missing. The stock is one."""


def _guarded(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and _DANGEROUS.match(value) else value


def _unguarded(cell: str) -> str:
    return cell[1:] if _GUARDED.match(cell) else cell


def write(stream: TextIO, kind: str, products: Iterable[Mapping[str, Any]]) -> int:
    """Products by "pk" and their `SOURCES`; how many they were."""
    return _write_json(stream, products) if kind == JSON_LINES else _write_csv(stream, products)


def _write_json(stream: TextIO, products: Iterable[Mapping[str, Any]]) -> int:
    count = 0
    for count, product in enumerate(products, start=1):  # noqa: B007  # the last one is how many there are
        stream.write(encode(_shown(product)).decode() + "\n")
    return count


def _write_csv(stream: TextIO, products: Iterable[Mapping[str, Any]]) -> int:
    """RFC 4180, with quotes around all texts, so that no record begins like a reason."""
    count = 0
    stream.write(",".join(COLUMNS) + "\r\n")
    writer = csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC)
    for count, product in enumerate(products, start=1):  # noqa: B007  # the last one is how many there are
        writer.writerow(["" if value is None else _guarded(value) for value in _shown(product).values()])
    return count


def _shown(product: Mapping[str, Any]) -> dict[str, Any]:
    """By the names of the columns, as the API shows it."""
    shown: dict[str, Any] = {ID: str(product["pk"])}
    for name, source in SOURCES.items():
        shown[name] = None if product[source] is None else _FIELDS[name].to_representation(product[source])
    return shown
