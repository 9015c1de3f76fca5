"""``manage.py product_svc export_products``: the catalog as a file that `import_products` takes."""

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
    help = "Write all products as CSV or JSON Lines, which import_products takes back."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", nargs="?", default="-", help="- for standard output (-)")
        parser.add_argument(
            "--format", choices=(CSV, JSON_LINES), help=f"if the file's name does not say it ({CSV} on standard output)"
        )

    def handle(self, *args: Any, file: str, **options: Any) -> None:
        kind = options["format"] or (CSV if file == "-" else format_of(Path(file)))
        if kind is None:
            raise CommandError(f"{file}: {CSV} or {JSON_LINES}? Say it with --format.")
        try:
            with _stdout(options.get("stdout")) if file == "-" else _replaced(Path(file)) as stream:
                count = write(stream, kind, catalog())
        except BrokenPipeError:  # who reads us has had enough
            os._exit(1)
        except OSError as error:
            target = "Standard output" if file == "-" else file
            raise CommandError(f"{target} cannot be written: {error.strerror or error}.") from None
        except DatabaseError as error:
            raise CommandError(" ".join(str(error).split())) from None
        self.stderr.write(f"{count:,} products.", self.style.SUCCESS)


@contextmanager
def _stdout(given: TextIO | None) -> Iterator[TextIO]:
    """The stream that `call_command` was given, or the process's standard output."""
    if given is not None:
        yield given
        return
    with io.TextIOWrapper(own_stdout(), encoding="utf-8", newline="") as stream:
        yield stream


@contextmanager
def _replaced(path: Path) -> Iterator[TextIO]:
    """Written beside ``path`` and renamed when it is whole, so that nobody ever finds a part of it there."""
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
