"""The catalog as a file: CSV with a header, or JSON Lines. An invalid line does not affect the other lines.

Spreadsheets run a cell that begins with = + - or @ as a formula. In CSV such a text is written with an apostrophe in
front, which is removed when the file is read.
"""

import csv
import re
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import msgspec
from rest_framework.serializers import CharField, DecimalField, IntegerField

from platform_core.api import decode, encode, guarded, unguarded
from platform_core.conf import decimals
from product_svc import numbers
from product_svc.html_text import text_of
from product_svc.presets import NO_OPTION, PRESETS, TITLES, Preset, recognise
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
_BY_NAME = {name: name for name in COLUMNS}
_BY_LOWER_NAME = {name.lower(): name for name in COLUMNS}
CSV, JSON_LINES, XLSX = "csv", "jsonl", "xlsx"
ENDINGS = {".csv": CSV, ".jsonl": JSON_LINES, ".ndjson": JSON_LINES}
IMPORTED_ENDINGS = {**ENDINGS, ".tsv": CSV, ".xlsx": XLSX, ".xlsm": XLSX}
"""The suffixes of files that can be imported. `product_svc.workbooks` reads XLSX."""
REJECTS = ".rejects"
REJECTED = "#rejected "
"""Prefix of a line with the reasons why the record below it was rejected. Such lines are skipped when reading."""
MAX_LINE = 2**20
"""Maximum length of a line in characters. A longer line stops the import."""
MAX_RECORD = 2**16
"""Maximum length in characters of a record with several lines. It limits the effect of an unclosed quote."""
_QUOTED_DIGITS = re.compile(r"'\d+", re.ASCII)
_ESCAPED_COMMA = "\\,"

NO_PRESET = "none"
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_SAYS_DELIMITER = re.compile(r'"?sep=(?P<delimiter>[,;\t])"?[,;\t]*\s*', re.IGNORECASE)
"""A first line that tells Excel the delimiter."""


class FileError(Exception):
    """The file cannot be read any further. The message says why."""


class Record(NamedTuple):
    """A record: the number of its first line or of its row, its text, and its values or the problem with them."""

    number: int
    raw: str
    values: Any = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file is to be read.

    ``decimal``: the decimal mark of its numbers, "point" or "comma"; None refuses numbers that read two ways.
    ``mapped``: the header of a column whose name differs, by column. ``ignore_unknown``: whether unknown columns are
    left out; otherwise they end the import. ``preset``: a name of `PRESETS`, NO_PRESET, or None to recognise the system
    by the titles.
    """

    decimal: str | None = None
    mapped: Mapping[str, str] = field(default_factory=dict)
    ignore_unknown: bool = False
    preset: str | None = None


class Source(NamedTuple):
    """A file that is being read: the unchanged lines of its header (empty if it has none), its records, what the
    user should know about how it is read, and what the numbers of its records count."""

    header: str
    records: Iterator[Record]
    notes: list[str]
    unit: str = "line"


def format_of(path: Path, endings: Mapping[str, str] = ENDINGS) -> str | None:
    """The format, from the file's suffix. A file of rejects has the format of its original."""
    name = Path(path.name.removesuffix(REJECTS))
    return endings.get(name.suffix.lower())


class _Lines:
    """The lines of a text. The lines of a record that does not end can be put back."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.encoding = stream.encoding.removesuffix("-sig").replace("utf", "UTF")
        self.given_back: deque[str] = deque()
        self.number = 0

    def next(self) -> str:
        """The next line with its line ending. Empty at the end of the file."""
        try:
            line = self.given_back.popleft() if self.given_back else self.stream.readline(MAX_LINE + 1)
        except UnicodeError as error:
            raise FileError(f"after line {self.number}: not {self.encoding}: {error}") from None
        self.number += bool(line)
        if self.number == 1:
            line = line.removeprefix("\ufeff")  # a byte order mark that the given encoding does not remove
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


def read(stream: TextIO, kind: str, reading: Reading | None = None) -> Source:
    """Begins to read a file.

    ``stream`` must be opened with ``newline=""``, and with ``errors="surrogateescape"`` unless it is UTF-16 or UTF-32.
    Raises FileError, also while the records are read.
    """
    reading = reading or Reading()
    lines = _Lines(stream)
    if kind == JSON_LINES:
        names = {header: column for column, header in reading.mapped.items()}

        def parsed(line: str) -> Any:
            return _parsed(line, names, reading.ignore_unknown)

        return Source("", (_checked(Record(lines.number, line), parsed, lines.encoding) for line in lines), [])
    header, delimiter, layout = _table(lines, reading)
    notes = [] if delimiter == "," else [f"The columns are separated by {DELIMITERS[delimiter]}."]
    return Source(header, _csv_records(lines, delimiter, layout, reading), notes + layout.notes())


def _checked(record: Record, parse: Callable[[str], Any], encoding: str) -> Record:
    try:
        record.raw.encode()
        return record._replace(values=parse(record.raw))
    except UnicodeEncodeError:
        return record._replace(problem=f"not {encoding}")
    except (msgspec.MsgspecError, csv.Error, RecursionError, ValueError, ArithmeticError) as error:
        return record._replace(problem=str(error))


def _parsed(line: str, names: Mapping[str, str], ignore_unknown: bool) -> Any:
    values = decode(line)
    if not isinstance(values, dict):
        return values
    taken = {name: _column(name, names, _BY_NAME) for name in values}
    if not ignore_unknown and (unknown := [name for name, column in taken.items() if column is None]):
        raise ValueError(_unknown(unknown))
    return {column: values[name] for name, column in taken.items() if column}


def _unknown(names: Sequence[str]) -> str:
    listed = ", ".join(map(repr, names))
    return f"{listed} {'is' if len(names) == 1 else 'are'} unknown; the columns are {', '.join(COLUMNS)}"


class Layout(NamedTuple):
    """The columns of a table: the column of each cell (None if the cell is ignored), the titles of ignored columns, the
    titles of all, and the preset, if any."""

    names: list[str | None]
    ignored: list[str]
    titles: list[str]
    preset: Preset | None

    def notes(self) -> list[str]:
        """What the user should know about it."""
        notes = [f"The file is read as one of {self.preset.system}."] if self.preset else []
        return notes + ([f"Ignored columns: {', '.join(self.ignored)}."] if self.ignored else [])

    def matters(self, index: int) -> bool:
        """Whether the cells at ``index`` have any influence on the products."""
        return self.names[index] is not None or (self.preset is not None and self.titles[index] in self.preset.others)


def layout_of(cells: Sequence[str], reading: Reading) -> Layout:
    """The layout of a table with these titles. Raises ValueError."""
    preset = PRESETS.get(reading.preset) if reading.preset else recognise(cells)
    names, ignored = _columns(cells, reading, preset)
    return Layout(names, ignored, [cell.lower() for cell in cells], preset)


def values_of(layout: Layout, reading: Reading) -> "_Values":
    """A function that turns the cells of a row into values by column, or None if the row is no product.

    It raises ValueError.
    """
    return _ValuesOfPreset(layout, layout.preset, reading) if layout.preset else _Values(layout.names, reading)


def _table(lines: _Lines, reading: Reading) -> tuple[str, str, Layout]:
    """The first lines of a CSV file unchanged, its delimiter, and its layout."""
    rows = iter(lines)
    before, line, delimiters = "", next(rows, ""), list(DELIMITERS)
    if said := _SAYS_DELIMITER.fullmatch(line):
        before, line, delimiters = line, next(rows, ""), [said["delimiter"]]
    try:
        line.encode()
        delimiter, cells = _cells(line, delimiters, reading)
        layout = layout_of(cells, reading)
    except UnicodeEncodeError:
        problem = f"not {lines.encoding}"
    except (csv.Error, ValueError) as error:
        problem = str(error)
    else:
        return before + line, delimiter, layout
    if "\0" in line:
        problem += " (if the file is UTF-16 without a byte order mark, give --encoding utf-16-le)"
    raise FileError(f"line {max(lines.number, 1)}: expected a header: {problem}")


def _cells(line: str, delimiters: Sequence[str], reading: Reading) -> tuple[str, list[str]]:
    """The delimiter and the cells of the header: those with the most known columns, or else the most cells."""
    known = {*_BY_LOWER_NAME, *TITLES, *(header.lower() for header in reading.mapped.values())}
    best: tuple[tuple[int, int], str, list[str]] | None = None
    problem: csv.Error | None = None
    for delimiter in delimiters:
        try:
            cells = next(csv.reader([line], delimiter=delimiter, strict=True, skipinitialspace=True), [])
        except csv.Error as error:
            problem = problem or error
            continue
        cells = [cell.strip() for cell in cells]
        score = sum(cell.lower() in known for cell in cells), len(cells)
        if best is None or score > best[0]:
            best = score, delimiter, cells
    if best is None:
        raise problem or ValueError("there is none")
    return best[1], best[2]


def _columns(titles: Sequence[str], reading: Reading, preset: Preset | None) -> tuple[list[str | None], list[str]]:
    """The column of each cell and the ignored titles. Raises ValueError."""
    titles = list(titles)
    while titles and not titles[-1]:
        titles.pop()
    if not titles:
        raise ValueError("there is none")
    mapped = {header.lower(): column for column, header in reading.mapped.items()}
    if absent := [header for header in reading.mapped.values() if header.lower() not in map(str.lower, titles)]:
        raise ValueError(f"--map names {', '.join(map(repr, absent))}; the columns of the file are {', '.join(titles)}")
    own = _titles_of(preset, {title.lower() for title in titles}) if preset else _BY_LOWER_NAME
    names = [_column(title.lower(), mapped, own) for title in titles]
    others = preset.others if preset else frozenset()
    ignored = [title for title, name in zip(titles, names, strict=True) if name is None and title.lower() not in others]
    if ignored and not (reading.ignore_unknown or preset):
        raise ValueError(f"{_unknown(ignored)}. Name a column with --map name=Title, or give --ignore-unknown")
    counted = Counter(name for name in names if name)
    if missing := [name for name in REQUIRED if not counted[name]]:
        raise ValueError(f"{', '.join(map(repr, missing))} {'is' if len(missing) == 1 else 'are'} missing")
    if twice := [name for name, count in counted.items() if count > 1]:
        raise ValueError(f"{', '.join(map(repr, twice))}: a column appears twice")
    return names, [title or "(without a title)" for title in ignored]


def _titles_of(preset: Preset, there: Collection[str]) -> dict[str, str]:
    """The columns by the titles that the file has of those in the preset."""
    first = {column: next((each for each in titles if each in there), "") for column, titles in preset.titles.items()}
    return {title: column for column, title in first.items() if title}


def _column(title: str, mapped: Mapping[str, str], own: Mapping[str, str]) -> str | None:
    """The column with this title. A column that is mapped to another title is not taken by its own name."""
    name = mapped.get(title) or own.get(title)
    return None if name in mapped.values() and title not in mapped else name


def _csv_records(lines: _Lines, delimiter: str, layout: Layout, reading: Reading) -> Iterator[Record]:
    dialect: dict[str, Any] = {"delimiter": delimiter, "strict": True, "skipinitialspace": True}
    values = values_of(layout, reading)
    for first in lines:
        number, taken, problem, cells = lines.number, list[str](), "", list[str]()
        try:
            cells = next(csv.reader(lines.rest_of_record(first, taken), **dialect))
        except csv.Error as error:
            problem = str(error)
            lines.give_back(taken[1:])
            del taken[1:]
        if not problem and not any(map(str.strip, cells)):
            continue  # a line of delimiters, as spreadsheets leave them
        record = Record(number, "".join(taken), problem=problem)
        if not problem:
            record = _checked(record, lambda _, cells=cells: values(cells), lines.encoding)  # type: ignore[misc]
        if record.problem or record.values is not None:
            yield record


class _Values:
    """Turns the cells of a line into values by column. Raises ValueError."""

    def __init__(self, names: Sequence[str | None], reading: Reading) -> None:
        self.names = names
        self.numbers = {
            name: numbers.reader(reading.decimal, decimals() if name in _DECIMALS else 0)
            for name in names
            if name in _DECIMALS | _WHOLE
        }

    def sized(self, cells: Sequence[str]) -> Sequence[str]:
        """The cells without the delimiters at the end of the line."""
        if len(cells) == len(self.names):
            return cells
        if len(cells) < len(self.names) or any(map(str.strip, cells[len(self.names) :])):
            raise ValueError(f"expected {len(self.names)} cells, found {len(cells)}")
        return cells[: len(self.names)]

    def __call__(self, cells: Sequence[str]) -> dict[str, str | None] | None:
        """Returns None if the row is not a product."""
        cells = self.sized(cells)
        values = {name: unguarded(cell.strip()) for name, cell in zip(self.names, cells, strict=True) if name}
        problems = []
        for name, read_number in self.numbers.items():
            try:
                values[name] = read_number(values[name])
            except ValueError as error:
                problems.append(f"{name}: {error}")
        if problems:
            raise ValueError("; ".join(problems))
        return {
            name: value or _EMPTY.get(name, "") for name, value in values.items() if value or name not in _SAY_NOTHING
        }


class _ValuesOfPreset(_Values):
    """The values of the rows of another shop system."""

    def __init__(self, layout: Layout, preset: Preset, reading: Reading) -> None:
        super().__init__(layout.names, reading)
        self.preset = preset
        self.at = {title: index for index, title in reversed([*enumerate(layout.titles[: len(layout.names)])])}
        self.column = {name: index for index, name in enumerate(layout.names) if name}
        self.inherited = [self.column[name] for name in ("name", "category", "description") if name in self.column]
        self.instead = [
            (self.column[name], preset.titles[name])
            for name in preset.instead
            if name in self.column and layout.titles[self.column[name]] in preset.titles[name]
        ]
        self.parents: dict[str, Sequence[str]] = {}

    def __call__(self, cells: Sequence[str]) -> dict[str, str | None] | None:
        cells = [cell.strip() for cell in self.sized(cells)]
        preset = self.preset
        for index, titles in self.instead:
            cells[index] = cells[index] or next(filter(None, (self._first(cells, [title]) for title in titles)), "")
        kinds = {kind.strip() for kind in self._first(cells, preset.kind).lower().split(",")}
        is_parent = not preset.no_product.isdisjoint(kinds)
        if is_parent or (preset.continues and self._cell(cells, "name")):
            self._remember(cells)
        is_empty = preset.continues and not any(self._cell(cells, name) for name in ("name", "sku", "price"))
        if is_parent or is_empty or self._first(cells, preset.translated):
            return None
        if (of := self._first(cells, preset.parent)) and of in self.parents:
            cells = self._completed(cells, self.parents[of])
        elif of and not preset.continues:
            raise ValueError(f"its parent {of!r} is in no row above, and it takes category and description from there")
        return super().__call__(self._plain(cells))

    def _plain(self, cells: list[str]) -> list[str]:
        """The cells without what the shop system has added to them."""
        description, category, sku = (self.column.get(name) for name in ("description", "category", "sku"))
        if self.preset.escaped and category is not None:
            cells[category] = cells[category].replace(_ESCAPED_COMMA, ",")
        if self.preset.apostrophes and sku is not None and _QUOTED_DIGITS.fullmatch(cells[sku]):
            cells[sku] = cells[sku][1:]
        if description is not None:
            html = cells[description]
            cells[description] = text_of(html.replace("\\n", "\n") if self.preset.escaped else html)
        return cells

    def _cell(self, cells: Sequence[str], column: str) -> str:
        return cells[self.column[column]] if column in self.column else ""

    def _first(self, cells: Sequence[str], titles: Iterable[str]) -> str:
        return next((cells[self.at[title]] for title in titles if title in self.at), "")

    def _remember(self, cells: Sequence[str]) -> None:
        if self.preset.continues:
            if self._first(cells, self.preset.known_by) in self.parents:
                return  # a variant that repeats the name of its product
            self.parents.clear()
        for title, prefix in self.preset.known_by.items():
            if key := self._first(cells, [title]):
                self.parents[prefix + key] = cells

    def _completed(self, cells: Sequence[str], parent: Sequence[str]) -> list[str]:
        row, name = list(cells), self.column["name"]
        for index in self.inherited:
            row[index] = row[index] or parent[index]
        if row[name] == parent[name]:
            options = [self._first(cells, [title]) for title in self.preset.options]
            if variant := " / ".join(option for option in options if option not in ("", NO_OPTION)):
                row[name] = f"{row[name]} – {variant.replace(_ESCAPED_COMMA, ',') if self.preset.escaped else variant}"
        return row


NUMBERS = frozenset(name for name, each in _FIELDS.items() if isinstance(each, DecimalField | IntegerField))
"""The columns with numbers."""
_DECIMALS = {name for name, each in _FIELDS.items() if isinstance(each, DecimalField)}
_WHOLE = {name for name, each in _FIELDS.items() if isinstance(each, IntegerField)}
_NOT_TEXT = {name for name, field in _FIELDS.items() if not isinstance(field, CharField) and not field.required}
_EMPTY = {name: None for name in _NOT_TEXT if _FIELDS[name].allow_null}
"""The columns (numbers, dates and the like) for which an empty cell means null."""
_SAY_NOTHING = _NOT_TEXT - _EMPTY.keys()
"""The columns, such as the stock, that an empty cell leaves unchanged, as if the column were missing."""


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
        writer.writerow(["" if value is None else guarded(value) for value in _shown(product).values()])
    return count


def _shown(product: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a product by column, formatted as in the API."""
    shown: dict[str, Any] = {ID: str(product["pk"])}
    for name, source in SOURCES.items():
        shown[name] = None if product[source] is None else _FIELDS[name].to_representation(product[source])
    return shown
