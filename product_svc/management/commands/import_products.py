"""``manage.py product_svc import_products FILE``: imports a file of products into the catalog."""

import codecs
import io
import os
import shutil
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TextIO

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from product_svc.bulk import Merged, Outcome, Wanted
from product_svc.encodings import LAST_RESORT, UTF_8, encoding_of
from product_svc.files import (
    COLUMNS,
    CSV,
    IMPORTED_ENDINGS,
    JSON_LINES,
    MAX_LINE,
    NO_PRESET,
    REJECTED,
    REJECTS,
    XLSX,
    FileError,
    Reading,
    Record,
    Source,
    format_of,
    read,
)
from product_svc.importing import Import, described, ended, reason_of, rejected_text, summary
from product_svc.numbers import COMMA, POINT
from product_svc.presets import PRESETS
from product_svc.workbooks import read_workbook

LINE_EVERY = 5.0
MAX_PRINTED = 100
"""The maximum number of reasons that are printed. The file of rejects holds all of them."""
FURTHER = "The reasons of further records are only in the file of rejects."
WORKBOOKS = (".xls", ".xlsb", ".ods")
"""Suffixes of workbooks that cannot be imported."""
MAX_PREVIEWED = 20
"""The maximum number of products that a dry run shows."""
AGAIN = "Committed batches are kept. Run the same command again to complete the import."


class Bar:
    """Progress bar for a terminal. ``total`` is in bytes, or None if it is unknown."""

    def __init__(self, console: Console, total: int | None) -> None:
        columns = (BarColumn(), DownloadColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
        self.shown = Progress(*columns, console=console)
        self.task = self.shown.add_task("", total=total)

    def __call__(self, position: int, counts: Counter[str]) -> None:
        self.shown.update(self.task, completed=position, description=summary(counts))


class Lines:
    """Progress without a terminal: a line from time to time."""

    def __init__(self, console: Console) -> None:
        self.console, self.last = console, time.monotonic()

    def __call__(self, position: int, counts: Counter[str]) -> None:
        if time.monotonic() - self.last > LINE_EVERY:
            self.console.print(f"So far {summary(counts)}.", highlight=False)
            self.last = time.monotonic()


class Rejects:
    """The file of rejected records, unchanged, each below a line with its reasons. It can be corrected and imported."""

    def __init__(self, stream: TextIO, source: Source, console: Console, further: str) -> None:
        self.stream, self.console, self.count, self.further = stream, console, 0, further
        self.unit = source.unit
        stream.write(ended(source.header))

    def __call__(self, record: Record, reasons: list[str]) -> None:
        reason = reason_of(record, reasons, self.unit)
        self.count += 1
        self.stream.write(rejected_text(record, reason))
        if self.count <= MAX_PRINTED:
            self.console.print(reason, markup=False, highlight=False, soft_wrap=True)
        elif self.count == MAX_PRINTED + 1:
            self.console.print(self.further)


class Preview:
    """Shows the first products that an import would add or change, with their old and new values."""

    def __init__(self, console: Console, unit: str) -> None:
        self.console, self.count, self.unit = console, 0, unit

    def __call__(self, record: Record, wanted: Wanted, merged: Merged) -> None:
        if merged.outcome == Outcome.UNCHANGED:
            return
        self.count += 1
        if self.count <= MAX_PREVIEWED:
            self._print(described(record, wanted, merged, self.unit))
        elif self.count == MAX_PREVIEWED + 1:
            self._print("Further products are only counted.")

    def _print(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class Command(BaseCommand):
    help = (
        "Import a file of products into the catalog: CSV with a header, a workbook (XLSX), or JSON Lines, with "
        f"{', '.join(COLUMNS)}. A product with a known sku, or else with a known id and the same name, is updated; "
        "a different stock is recorded as an adjustment. Others are added. Importing the same file again changes "
        "nothing. Invalid records are reported and written to FILE.rejects; the exit code is then 1."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="- for standard input")
        parser.add_argument("--format", choices=(CSV, JSON_LINES, XLSX), help="default: from the file's name")
        parser.add_argument(
            "--rejects",
            type=Path,
            help="file for the rejected records (default: FILE.rejects, and FILE.rejects.csv of a workbook)",
        )
        parser.add_argument(
            "--allow-without-sku",
            action="store_true",
            help="import records with neither a sku nor a known id; each run adds them again",
        )
        parser.add_argument("--sheet", metavar="NAME", help="the sheet of a workbook (default: the first visible one)")
        parser.add_argument("--encoding", help="such as cp1252 (default: detected)")
        parser.add_argument(
            "--decimal",
            choices=(POINT, COMMA),
            help="the decimal mark of texts; by default a number that reads two ways, such as 1,234, is rejected",
        )
        parser.add_argument(
            "--map",
            action="append",
            default=[],
            dest="mapped",
            metavar="COLUMN=TITLE",
            help="the title of a column in the file, such as name=Title; may be repeated",
        )
        parser.add_argument(
            "--preset",
            choices=(*PRESETS, NO_PRESET),
            help="the shop system that wrote the file (default: Shopify and WooCommerce are recognised)",
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="write nothing, also no file of rejects; show the counts and the first products that would change",
        )
        parser.add_argument("--ignore-unknown", action="store_true", help="leave out columns that are unknown")

    def handle(self, *args: Any, file: str, rejects: Path | None, allow_without_sku: bool, **options: Any) -> None:
        kind = _kind(file, options)
        is_dry = options["dry_run"]
        default = ("stdin" if file == "-" else file) + REJECTS + (".csv" if kind == XLSX else "")
        self.rejects = Path(os.devnull) if is_dry else rejects or Path(default)
        with _one_line_errors(), _opened(file, self.rejects) as source:
            counts = self._take_in(source, kind, allow_without_sku, options)
        self.stdout.write(summary(counts) + ".")
        if is_dry:
            if counts["rejected"]:
                raise CommandError("Dry run: nothing was written. An import would reject some records.")
            return
        if counts["rejected"]:
            raise CommandError(f"The rejected records are in {self.rejects}.")
        self.rejects.unlink()

    def _take_in(
        self, source: IO[bytes], kind: str, allow_without_sku: bool, options: Mapping[str, Any]
    ) -> Counter[str]:
        found = self._begun(source, kind, options)
        out, err = Console(file=options.get("stdout")), Console(file=options.get("stderr"), stderr=True)
        for note in ["Dry run: nothing is written.", *found.notes] if options["dry_run"] else found.notes:
            out.print(note, markup=False, highlight=False, soft_wrap=True)
        encoding = UTF_8 if kind == XLSX else "utf-8"  # with a byte order mark for the spreadsheet
        with (
            self.rejects.open("w", encoding=encoding, errors="surrogateescape", newline="") as left_out,
            _progress(out, source) as progress,
        ):
            further = "The reasons of further records are not shown." if options["dry_run"] else FURTHER
            reject = Rejects(left_out, found, out if out.is_terminal else err, further)

            def show_progress(counts: Counter[str]) -> None:
                left_out.flush()
                progress(source.tell() if source.seekable() else 0, counts)

            preview = Preview(out, found.unit) if options["dry_run"] else None
            return Import(reject, show_progress, allow_without_sku, preview, found.unit).run(found.records)

    def _begun(self, source: IO[bytes], kind: str, options: Mapping[str, Any]) -> Source:
        """The records of the file, and notes on how it is read. Raises FileError."""
        reading = _reading(options)
        if kind == XLSX:
            return read_workbook(source, reading, options["sheet"])
        encoding = options["encoding"] or _encoding(source, kind)
        wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
        self.text = io.TextIOWrapper(
            source, encoding, errors="strict" if wide else "surrogateescape", newline=""
        )  # kept, for it closes its file when it goes
        found = read(self.text, kind, reading)
        if encoding == LAST_RESORT and not options["encoding"]:
            note = f"The file is not UTF-8. It is read as {LAST_RESORT}; --encoding names another encoding."
            found.notes.insert(0, note)
        return found


def _kind(file: str, options: Mapping[str, Any]) -> str:
    """The format of the file. Raises CommandError if it is unknown, or if the options do not fit it."""
    _check_encoding(options["encoding"])
    kind: str | None = options["format"] or format_of(Path(file), IMPORTED_ENDINGS)
    if kind is None and Path(file).suffix.lower() in WORKBOOKS:
        raise CommandError(
            f"{file} is a workbook of another format. Save it in the spreadsheet as XLSX, and import that file."
        )
    if kind is None:
        raise CommandError(f"{file}: unknown suffix. Give --format {CSV}, --format {JSON_LINES} or --format {XLSX}.")
    if options["preset"] not in (None, NO_PRESET) and kind == JSON_LINES:
        raise CommandError("--preset is for CSV and workbooks.")
    for name, ours in (("sheet", kind == XLSX), ("encoding", kind != XLSX)):
        if options[name] and not ours:
            raise CommandError(f"--{name} is {'not ' * (kind == XLSX)}for workbooks.")
    return kind


@contextmanager
def _progress(console: Console, source: IO[bytes]) -> Iterator[Bar | Lines]:
    if not console.is_terminal:
        yield Lines(console)
        return
    bar = Bar(console, _size(source))
    with bar.shown:
        yield bar


def _size(source: IO[bytes]) -> int | None:
    return os.fstat(source.fileno()).st_size or None


@contextmanager
def _opened(file: str, rejects: Path) -> Iterator[IO[bytes]]:
    if file == "-":
        with _seekable(sys.stdin.buffer) as source:
            yield source
        return
    if Path(file).resolve() == rejects.resolve():
        raise CommandError("The file of rejects would overwrite the file itself.")
    with Path(file).open("rb") as opened, _seekable(opened) as source:
        yield source


@contextmanager
def _seekable(source: IO[bytes]) -> Iterator[IO[bytes]]:
    """``source`` itself, or a temporary copy if it is a pipe: the encoding is only known at the end of the file."""
    if source.seekable():
        yield source
        return
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(source, copy)
        copy.seek(0)
        yield copy


def _check_encoding(name: str | None) -> None:
    try:
        "".encode(name or "utf-8")
    except LookupError:
        raise CommandError(f"--encoding {name}: there is no such encoding.") from None


def _encoding(source: IO[bytes], kind: str) -> str:
    """The detected encoding. JSON Lines and files of rejects are never guessed to be in an old encoding."""
    encoding = encoding_of(source)
    return UTF_8 if encoding == LAST_RESORT and (kind == JSON_LINES or _has_rejects(source)) else encoding


def _has_rejects(source: IO[bytes]) -> bool:
    start = source.tell()
    try:
        return b"\n" + REJECTED.encode() in b"\n" + source.read(MAX_LINE)
    finally:
        source.seek(start)


def _reading(options: Mapping[str, Any]) -> Reading:
    mapped: dict[str, str] = {}
    for text in options["mapped"]:
        column, _, title = (part.strip() for part in text.partition("="))
        if not title or column not in COLUMNS or column in mapped or title in mapped.values():
            raise CommandError(
                f"--map {text}: expected COLUMN=TITLE, such as name=Title, once for a column of {', '.join(COLUMNS)}."
            )
        mapped[column] = title
    return Reading(options["decimal"], mapped, options["ignore_unknown"], options["preset"])


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except FileError as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"{error.filename or 'The file'}: {error.strerror or error}.") from None
    except DatabaseError as error:
        raise CommandError(f"{' '.join(str(error).split())}. {AGAIN}") from None
    except KeyboardInterrupt:
        raise CommandError(f"Given up. {AGAIN}") from None
