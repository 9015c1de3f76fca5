"""The catalog as a sheet of a workbook (XLSX), which openpyxl reads row by row. openpyxl is optional.

A cell has a value, a type and a format. Where the value alone would be misread (a date that was a sku, zeros that only
the format shows, a formula that nobody has calculated), its row is rejected and the reason names the cell.
"""

import csv
import io
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from functools import cache
from typing import IO, Any, NamedTuple
from xml.parsers import expat
from zipfile import ZipFile

from django.conf import settings

from platform_core.api import guarded, unguarded
from product_svc.files import (
    NUMBERS,
    FileError,
    Layout,
    Reading,
    Record,
    Source,
    layout_of,
    values_of,
)
from product_svc.numbers import COMMA

HOW_TO_INSTALL = "Workbooks need openpyxl: pip install -r requirements-xlsx.txt"
MAX_SHEET = 2**30
"""Maximum size of the sheet's XML in bytes. It is read as a stream."""
MAX_REST = 2**28
"""Maximum size in bytes of everything else in the workbook, of which openpyxl holds the texts in memory."""
MAX_ROW = 2**22
"""Maximum size of a row's XML in bytes: a row is in memory as a whole."""
MAX_ROWS, MAX_COLUMNS = 2**20, 2**14
"""The limits of spreadsheet programs."""
MAX_NOTED = 100_000
"""Maximum number of merged ranges, and of formulas without a value."""
EXACT = 10**15
"""Whole numbers from here on have lost their last digits in the spreadsheet."""
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_SHEET_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"
_CONTENT_TYPES = "[Content_Types].xml"
_BLOCK = 2**16
_CELL = re.compile(r"\$?([A-Z]{1,3})\$?([1-9][0-9]{0,6})")
_ESCAPED_CONTROL = re.compile("_x00([01][0-9A-Fa-f])_")
_LITERALS = re.compile(r'"[^"]*"|\\.|_.|\*.|\[[^\]]*\]')
_ZEROS = re.compile("0+")
_SCALED = re.compile(r"[0#?],+(?![0#?,])")
_CODE = re.compile(r'(?:\[\$|")\s*([A-Z]{3})\b')
_SYMBOLS = {"€": ("EUR",), "£": ("GBP",), "¥": ("JPY", "CNY"), "₹": ("INR",), "₩": ("KRW",)}


class _Unfit(ValueError):
    """A cell that cannot be read. The message begins after the name of the cell."""


class _Range(NamedTuple):
    """A range of merged cells, counted from 1."""

    name: str
    top: int
    left: int
    bottom: int
    right: int


def read_workbook(source: IO[bytes], reading: Reading, sheet: str | None = None) -> Source:
    """Begins to read a sheet: the one with this name, or else the first visible one. The first row with values is the
    header.

    Raises FileError, also while the records are read. The text of a record is a line of CSV.
    """
    reader = _reading_all(lambda: _opened(source))
    worksheet, path = _chosen(reader, sheet)
    calculation = reader.wb.calculation
    scan = _Scan(is_stale=bool(calculation and calculation.fullCalcOnLoad))
    _reading_all(lambda: scan.run(reader.archive, path))
    worksheet.reset_dimensions()
    rows = _rows(worksheet)
    first, titles = _header(rows, scan, worksheet.title)
    try:
        layout = layout_of(titles, reading)
    except ValueError as error:
        raise FileError(f"sheet {worksheet.title!r}, row {first}: expected a header: {error}") from None
    if merged := next((each for each in scan.merged if each.top <= first <= each.bottom), None):
        raise FileError(f"sheet {worksheet.title!r}: the cells {merged.name} of the header are merged")
    visible = [each.title for each in reader.wb.worksheets if each.sheet_state == "visible"]
    notes = [f"The sheet {worksheet.title!r} is read, one of {len(visible)}."] if len(visible) > 1 else []
    table = _Table(layout, reading, scan)
    return Source(_line(titles), _records(rows, table), notes + layout.notes(), "row")


def _reading_all(step: Callable[[], Any]) -> Any:
    try:
        return step()
    except FileError:
        raise
    except Exception as error:  # openpyxl and zipfile raise many kinds for a broken file
        text = " ".join(str(error).split()) or type(error).__name__
        raise FileError(f"This is not a workbook that can be read (or it has a password): {text}") from None


def _opened(source: IO[bytes]) -> Any:
    """openpyxl's reader of the workbook, without its sheets."""
    try:
        from openpyxl.reader.excel import ExcelReader
        from openpyxl.xml.constants import SHARED_STRINGS  # noqa: F401  # the whole package is there
    except ImportError:
        raise FileError(HOW_TO_INSTALL) from None
    warnings.filterwarnings("ignore", module="openpyxl")
    reader = ExcelReader(source, read_only=True, data_only=True, keep_links=False)
    sizes = {info.filename: info.file_size for info in reader.archive.infolist()}
    total = sum(info.file_size for info in reader.archive.infolist())
    _limited(sizes.get(_CONTENT_TYPES, 0), 2**20)
    reader.read_manifest()
    types: dict[str, set[str]] = {}
    for part in reader.package.Override:
        types.setdefault(part.PartName.removeprefix("/"), set()).add(part.ContentType)
    sheets = [sizes.get(name, 0) for name, found in types.items() if found == {_SHEET_TYPE}]
    _limited(total - sum(sheets), MAX_REST)
    _limited(max(sheets, default=0), MAX_SHEET)
    reader.read()
    return reader


def _limited(size: int, most: int) -> None:
    if size > most:
        raise FileError(f"The workbook is too large: a part of it has {size:,} bytes unpacked, allowed are {most:,}.")


def _chosen(reader: Any, name: str | None) -> tuple[Any, str]:
    """The sheet and its path in the archive."""
    sheets = {each.title: each for each in reader.wb.worksheets}
    if name is None:
        name = next((each.title for each in sheets.values() if each.sheet_state == "visible"), None)
        if name is None:
            raise FileError("The workbook has no visible sheet.")
    if name not in sheets:
        raise FileError(f"There is no sheet {name!r}; the sheets are {', '.join(map(repr, sheets))}.")
    paths = {each.name: relation.target for each, relation in reader.parser.find_sheets()}
    return sheets[name], paths[name]


class _Scan:
    """What openpyxl does not tell of a sheet that it reads row by row: merged cells, formulas without a value, and
    rows that it would pass over or that are too large.

    ``is_stale``: whether the values of all formulas are out of date, as the program that wrote the file says of it.
    """

    def __init__(self, *, is_stale: bool) -> None:
        self.is_stale = is_stale
        self.merged: list[_Range] = []
        self.uncalculated: dict[int, set[int]] = {}
        """Row → the columns of the formulas without a value."""
        self._noted = 0
        self._row, self._row_began, self._column = 0, 0, 0
        self._type, self._formula, self._has_value = "", False, False
        self._parser: Any = None
        self._handlers: dict[str, Callable[[dict[str, str]], None]] = {
            f"{_MAIN} {tag}": handler
            for tag, handler in (
                ("row", self._on_row),
                ("c", self._on_cell),
                ("f", self._on_formula),
                ("v", self._on_value),
                ("mergeCell", self._on_merged),
            )
        }

    def run(self, archive: ZipFile, path: str) -> None:
        """Raises FileError, and the errors of zipfile and expat."""
        self._parser = parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartElementHandler = self._on_element
        parser.StartDoctypeDeclHandler = self._on_doctype
        with archive.open(path) as sheet:
            while block := sheet.read(_BLOCK):
                parser.Parse(block)
                if parser.CurrentByteIndex - self._row_began > MAX_ROW:
                    raise FileError(f"row {self._row}: longer than {MAX_ROW:,} bytes")
            parser.Parse(b"", True)
        self._end_cell()
        self.merged.sort(key=lambda each: each.top)

    def _on_element(self, name: str, attributes: dict[str, str]) -> None:
        if handler := self._handlers.get(name):
            handler(attributes)

    def _on_doctype(self, *_: Any) -> None:
        raise FileError("The sheet declares a document type, as no spreadsheet program does.")

    def _on_row(self, attributes: dict[str, str]) -> None:
        self._end_cell()
        number = int(attributes.get("r", self._row + 1))
        if not self._row < number <= MAX_ROWS:
            raise FileError(f"row {number} follows row {self._row}: the sheet is damaged")
        self._row, self._row_began, self._column = number, self._parser.CurrentByteIndex, 0

    def _on_cell(self, attributes: dict[str, str]) -> None:
        self._end_cell()
        column = self._column + 1
        if name := attributes.get("r"):
            row, column = _position(name)
            if row != self._row or column <= self._column:
                raise FileError(f"row {self._row} has the cell {name} in the wrong place: the sheet is damaged")
        if column > MAX_COLUMNS:
            raise FileError(f"row {self._row}: more than {MAX_COLUMNS:,} cells")
        self._column, self._type = column, attributes.get("t", "n")

    def _on_formula(self, _: dict[str, str]) -> None:
        self._formula = True

    def _on_value(self, _: dict[str, str]) -> None:
        if self._formula:
            self._parser.CharacterDataHandler = self._on_text

    def _on_text(self, _: str) -> None:
        self._has_value = True
        self._parser.CharacterDataHandler = None

    def _end_cell(self) -> None:
        if self._formula:
            has_result = self._has_value or self._type == "str"  # the empty text is a result
            if self.is_stale or not has_result:
                self._note()
                self.uncalculated.setdefault(self._row, set()).add(self._column)
            self._parser.CharacterDataHandler = None
            self._formula = self._has_value = False

    def _on_merged(self, attributes: dict[str, str]) -> None:
        self._end_cell()
        self._note()
        name = attributes["ref"]
        first, _, last = name.partition(":")
        self.merged.append(_Range(name, *_position(first), *_position(last or first)))

    def _note(self) -> None:
        self._noted += 1
        if self._noted > MAX_NOTED:
            raise FileError(
                f"More than {MAX_NOTED:,} cells are merged or are formulas without a value. Open the workbook in a "
                "spreadsheet program and save it there as CSV."
            )


def _position(name: str) -> tuple[int, int]:
    """The row and the column of a cell such as ``B3``, counted from 1."""
    match = _CELL.fullmatch(name)
    if match is None:
        raise FileError(f"The sheet has a cell {name!r}.")
    column = 0
    for letter in match[1]:
        column = column * 26 + ord(letter) - 64
    return int(match[2]), column


def _rows(worksheet: Any) -> Iterator[tuple[int, Sequence[Any]]]:
    rows = enumerate(worksheet.iter_rows(), start=1)
    while (row := _reading_all(lambda: next(rows, None))) is not None:
        yield row


def _header(rows: Iterator[tuple[int, Sequence[Any]]], scan: _Scan, sheet: str) -> tuple[int, list[str]]:
    for number, cells in rows:
        if not _is_blank(cells):
            if number in scan.uncalculated:
                raise FileError(f"sheet {sheet!r}, row {number}: a title is a formula without a value")
            return number, [" ".join(_plain(cell).split()) for cell in cells]
    raise FileError(f"The sheet {sheet!r} is empty.")


def _is_blank(cells: Sequence[Any]) -> bool:
    return all(cell.value is None or (isinstance(cell.value, str) and not cell.value.strip()) for cell in cells)


def _plain(cell: Any) -> str:
    """The value of any cell, or of None, as a text."""
    value = None if cell is None else cell.value
    if value is None:
        return ""
    if isinstance(value, str):
        return _decoded(value)
    return _digits(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _decoded(text: str) -> str:
    """The text with its control characters, which XLSX writes as ``_x000D_``. Line ends are line feeds."""
    if "_x00" not in text:
        return text
    return _ESCAPED_CONTROL.sub(lambda match: chr(int(match[1], 16)), text).replace("\r\n", "\n").replace("\r", "\n")


def _digits(number: float) -> str:
    """A number as the spreadsheet calculates: with 15 significant digits, and never with an exponent."""
    return str(number) if isinstance(number, int) else f"{Decimal(f'{number:.15g}'):f}"


class _Table:
    """Turns rows into the texts that a CSV file would have, which then mean the same."""

    def __init__(self, layout: Layout, reading: Reading, scan: _Scan) -> None:
        self.layout, self.scan = layout, scan
        self.values = values_of(layout, reading)
        self.width = len(layout.names)
        self.matters = [layout.matters(index) for index in range(self.width)]
        self.mark = "," if reading.decimal == COMMA else "."
        self.is_marked = reading.decimal is not None
        self.ahead, self.merged = list(reversed(scan.merged)), list[_Range]()

    def record(self, number: int, cells: Sequence[Any]) -> Record | None:
        """The record of a row, or None if it is blank or no product."""
        uncalculated = self.scan.uncalculated.get(number, set())
        merged = self._merged(number)
        if not uncalculated and _is_blank(cells):
            return None
        texts, problems = self._texts(number, cells, uncalculated)
        problems += [f"the cells {each.name} are merged: split them, and fill each row" for each in merged]
        record = Record(number, _line(texts), problem="; ".join(problems))
        if problems:
            return record
        try:
            values = self.values(texts)
        except ValueError as error:
            return record._replace(problem=str(error))
        return None if values is None else record._replace(values=values)

    def _texts(self, number: int, cells: Sequence[Any], uncalculated: Collection[int]) -> tuple[list[str], list[str]]:
        """The texts of a row, and what is wrong with its cells."""
        texts, problems = list[str](), list[str]()
        for index in range(self.width):
            cell = cells[index] if index < len(cells) else None
            text = None
            if self.matters[index]:
                try:
                    text = self._text(cell, self.layout.names[index], index + 1 in uncalculated)
                except _Unfit as unfit:
                    problems.append(f"cell {_name(index + 1)}{number} {unfit}")
            texts.append(_plain(cell) if text is None else text)
        for index in range(self.width, len(cells)):
            if _plain(cells[index]).strip() or index + 1 in uncalculated:
                problems.append(f"cell {_name(index + 1)}{number} has a value, but its column has no title")
                break
        return texts, problems

    def _merged(self, number: int) -> list[_Range]:
        """The merged ranges that this row has cells of, in columns that matter."""
        while self.ahead and self.ahead[-1].top <= number:
            self.merged.append(self.ahead.pop())
        if self.merged:
            self.merged = [each for each in self.merged if each.bottom >= number]
        return [each for each in self.merged if any(self.matters[each.left - 1 : each.right])]

    def _text(self, cell: Any, name: str | None, is_uncalculated: bool) -> str:
        """The text of a cell in a column. Raises _Unfit."""
        if is_uncalculated:
            raise _Unfit("is a formula without a value: open the workbook in a spreadsheet program and save it")
        value = None if cell is None else cell.value
        if value is None:
            return ""
        if cell.data_type == "e":
            raise _Unfit(f"is the error {value}")
        if isinstance(value, str):
            return _decoded(value)
        if isinstance(value, bool):
            raise _Unfit(f"is {str(value).upper()}: enter it as text")
        if isinstance(value, date | time | timedelta):
            raise _Unfit(f"is a date or time ({value}): format the column as text, and enter it again")
        if not isinstance(value, int | float) or value in (float("inf"), float("-inf")):
            raise _Unfit(f"has a value that is neither a text nor a number: {value}")
        return self._number(value, cell.number_format, name) if name in NUMBERS else _as_text(value, cell.number_format)

    def _number(self, value: float, form: str, name: str | None) -> str:
        """A number so that `numbers.reader` takes it in one way."""
        if problem := _misleading(form, settings.CURRENCY if name == "price" else ""):
            raise _Unfit(problem)
        whole, point, fraction = _digits(value).partition(".")
        if len(fraction) == 3 and not self.is_marked:
            fraction += "0"  # 1.234 could be a thousand
        return f"{whole}{self.mark}{fraction}" if point else whole


def _as_text(value: float, form: str) -> str:
    """A number in a column of texts, such as a sku, as the spreadsheet shows it. Raises _Unfit."""
    if abs(value) >= EXACT:
        raise _Unfit("is a number of more than 15 digits, which spreadsheets round: enter it as text")
    text = _digits(value)
    if form in ("General", "0", "@") and (form != "0" or "." not in text):
        return text
    if _ZEROS.fullmatch(form) and text.isdigit():
        return text.zfill(len(form))
    raise _Unfit(f"is the number {text} in the format {form!r}: enter it as text, as it is to be read")


@cache
def _misleading(form: str, currency: str) -> str:
    """Why a number in this format is shown as another one, or as an amount of another currency; empty if it is not."""
    bare = _LITERALS.sub("", form)
    if "%" in bare or _SCALED.search(bare):
        return f"is a number that the format {form!r} shows as another one: format it as a plain number"
    symbols = {code for symbol, codes in _SYMBOLS.items() if symbol in form for code in codes}
    codes = symbols or set(_CODE.findall(form))
    if currency and codes and currency not in codes:
        return f"has the format {form!r}, which is not in {currency}, the shop's currency"
    return ""


def _name(column: int) -> str:
    letters = ""
    while column:
        column, letter = divmod(column - 1, 26)
        letters = chr(65 + letter) + letters
    return letters


def _line(texts: Sequence[str]) -> str:
    """A line of CSV that is read as these texts. All are quoted, so that it does not look like a line with reasons."""
    stream = io.StringIO()
    csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(
        [guarded(unguarded(text)) for text in texts]
    )
    return stream.getvalue()


def _records(rows: Iterator[tuple[int, Sequence[Any]]], table: _Table) -> Iterator[Record]:
    for number, cells in rows:
        if record := table.record(number, cells):
            yield record
