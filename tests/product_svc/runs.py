"""Results of imports, for the tests of import and export."""

import io
from pathlib import Path

from django.core.management import CommandError, call_command

from platform_core.events.models import Event
from product_svc import files
from product_svc.models import Product, StockMovement

HEADER = "sku,name,price,stock\n"


class Imported:
    """The result of a run.

    It has the exit ``code``, the messages ``said`` about lines, all output ``shown``, the final ``counts``, and the
    content of the ``rejects`` file.
    """

    def __init__(self, path: Path, *arguments: str) -> None:
        out, err = io.StringIO(), io.StringIO()
        self.code, refusal = 0, ""
        try:
            call_command("import_products", str(path), *arguments, stdout=out, stderr=err)
        except CommandError as error:
            self.code, refusal = error.returncode, str(error)
        self.shown, self.refusal = out.getvalue().splitlines(), refusal
        self.counts = self.shown[-1] if self.shown else ""
        self.said = err.getvalue() + refusal
        rejects = path.with_name(path.name + ".rejects")
        self.rejects = rejects.read_bytes().decode(errors="surrogateescape") if rejects.exists() else None


def exported(*arguments: str) -> str:
    out = io.StringIO()
    call_command("export_products", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def everything() -> list[list[tuple]]:
    """A snapshot of everything that an import could change."""
    return [list(model.objects.order_by("pk").values_list()) for model in (Product, StockMovement, Event)]


def catalog() -> list[tuple]:
    return list(Product.objects.order_by("pk").values_list(*files.SOURCES.values()))


def counts(new: int = 0, changed: int = 0, unchanged: int = 0, rejected: int = 0) -> str:
    return f"{new} new, {changed} changed, {unchanged} unchanged, {rejected} rejected."
