"""``manage.py product_svc export_products``: exports the catalog as a file that `import_products` reads."""

import codecs
import io
import os
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from platform_core.observability import own_stdout
from product_svc.exporting import catalog
from product_svc.files import CSV, JSON_LINES, format_of, write


class Command(BaseCommand):
    help = "Export all products as CSV or JSON Lines. import_products can read the file."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", nargs="?", default="-", help="- for standard output (-)")
        parser.add_argument(
            "--format", choices=(CSV, JSON_LINES), help=f"default: from the file's name ({CSV} on standard output)"
        )
        parser.add_argument(
            "--excel", action="store_true", help="begin CSV with a byte order mark, by which Excel knows UTF-8"
        )

    def handle(self, *args: Any, file: str, excel: bool, **options: Any) -> None:
        kind = options["format"] or (CSV if file == "-" else format_of(Path(file)))
        if kind is None:
            raise CommandError(f"{file}: {CSV} or {JSON_LINES}? Say it with --format.")
        if excel and kind != CSV:
            raise CommandError(f"--excel is for {CSV}.")
        try:
            with _stdout(options.get("stdout")) if file == "-" else _replaced(Path(file)) as stream:
                if excel:
                    stream.write(codecs.BOM_UTF8.decode())
                count = write(stream, kind, catalog())
        except BrokenPipeError:  # the reader closed the pipe, as `head` does
            os._exit(1)
        except OSError as error:
            target = "Standard output" if file == "-" else file
            raise CommandError(f"{target} cannot be written: {error.strerror or error}.") from None
        except DatabaseError as error:
            raise CommandError(" ".join(str(error).split())) from None
        self.stderr.write(f"{count:,} products.", self.style.SUCCESS)


@contextmanager
def _stdout(given: TextIO | None) -> Iterator[TextIO]:
    """The stream that was passed to `call_command`, otherwise standard output."""
    if given is not None:
        yield given
        return
    with io.TextIOWrapper(own_stdout(), encoding="utf-8", newline="") as stream:
        yield stream


@contextmanager
def _replaced(path: Path) -> Iterator[TextIO]:
    """Opens a temporary file beside ``path`` and renames it at the end, so that ``path`` is never incomplete."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("x", encoding="utf-8", newline="") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink()
