"""Jobs over the catalog: import, export, deletion. Files are stored in the database while they are needed."""

import codecs
import io
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from platform_core.jobs import (
    CHUNK_BYTES,
    ChunkReader,
    ChunkWriter,
    GivenUp,
    Job,
    JobChunk,
    Kind,
    Run,
    each_item,
    log_change,
)
from product_svc.bulk import Merged, Outcome, Wanted
from product_svc.encodings import LAST_RESORT, UTF_8, encoding_of
from product_svc.exporting import catalog
from product_svc.files import CSV, JSON_LINES, MAX_LINE, XLSX, FileError, Reading, Record, read, write
from product_svc.files import REJECTED as REJECTED_LINE
from product_svc.importing import Import, described, ended, reason_of, rejected_text
from product_svc.services import delete_product, live_products
from product_svc.workbooks import read_workbook

PREVIEW, IMPORT, EXPORT, DELETE = "product.preview", "product.import", "product.export", "product.delete"
CHANGE = "product_svc.change_product"
MAX_PREVIEWED = 20
"""The most products whose changes a preview shows."""
MAX_ERRORS = 100
"""The most rejected lines that a page shows. The file of rejects has all of them."""
MAX_TEXT = 500
EXPORT_EVERY = 1000
TEMPLATE = "product_svc/import_job.html"


def preview(run: Run) -> None:
    """Reads the whole file and writes nothing. After a crash it begins again."""
    run.restart()
    _Reading(run, is_preview=True).work()


def import_file(run: Run) -> None:
    """Imports the file. Each batch is written in the transaction that counts it; a later run goes on behind it."""
    _Reading(run, is_preview=False).work()


@dataclass(slots=True)
class _Reading:
    """One run of a preview or an import."""

    run: Run
    is_preview: bool
    changes: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rejects: bytearray = field(default_factory=bytearray)
    header: str = ""
    unit: str = "line"
    base: Counter[str] = field(default_factory=Counter)
    counted: Counter[str] = field(default_factory=Counter)
    batches: int = 0

    def work(self) -> None:
        """Reads the file and finishes. Raises GivenUp if it cannot be read any further."""
        job = self.run.job
        self.base = Counter(job.result.get("counts", {}))
        self.errors = list(job.result.get("errors", []))
        self.batches = int(job.result.get("batches", 0))
        source = io.BufferedReader(ChunkReader(job, JobChunk.Part.UPLOAD), MAX_LINE)
        try:
            records = self._opened(source)
            Import(
                self._reject,
                self._progress,
                allow_without_sku=bool(job.parameters.get("allow_without_sku")),
                preview=self._preview if self.is_preview else None,
                unit=self.unit,
                committing=transaction.atomic,
                written=self.batches,
            ).run(records)
        except FileError as error:
            raise GivenUp(str(error)) from None

    def _opened(self, source: Any) -> Any:
        parameters = self.run.job.parameters
        kind = parameters["format"]
        reading = Reading(
            decimal=parameters.get("decimal") or None,
            ignore_unknown=bool(parameters.get("ignore_unknown")),
            preset=parameters.get("preset") or None,
        )
        if kind == XLSX:
            self.header, records, self.notes, self.unit = read_workbook(source, reading)
            return records
        encoding = encoding_of(source)
        start = source.read(MAX_LINE)
        source.seek(0)
        if encoding == LAST_RESORT and (kind == JSON_LINES or REJECTED_LINE.encode() in start):
            encoding = UTF_8
        wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
        text = io.TextIOWrapper(source, encoding, errors="strict" if wide else "surrogateescape", newline="")
        self.header, records, self.notes, self.unit = read(text, kind, reading)
        if encoding == LAST_RESORT:
            self.notes = [f"The file is not UTF-8. It is read as {LAST_RESORT}.", *self.notes]
        return records

    def _reject(self, record: Record, reasons: list[str]) -> None:
        reason = reason_of(record, reasons, self.unit)
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(reason[:MAX_TEXT])
        self.rejects += rejected_text(record, reason).encode(errors="surrogateescape")

    def _preview(self, record: Record, wanted: Wanted, merged: Merged) -> None:
        if merged.outcome != Outcome.UNCHANGED and len(self.changes) < MAX_PREVIEWED:
            self.changes.append(described(record, wanted, merged, self.unit)[:MAX_TEXT])

    def _progress(self, counts: Counter[str]) -> None:
        """Counts a batch and stores its rejects, in the transaction that writes it."""
        self.run.check_end()
        new = Counter(counts)
        new.subtract(self.counted)
        self.counted = Counter(counts)
        self.batches += 1
        self._store_rejects()
        result = {
            "counts": dict(self.base + counts),
            "batches": self.batches,
            "notes": self.notes,
            "changes": self.changes,
            "errors": self.errors,
        }
        self.run.commit(sum(new.values()), new["new"] + new["changed"], new["rejected"], result=result)

    def _store_rejects(self) -> None:
        if not self.rejects:
            return
        writer = ChunkWriter(self.run.job, JobChunk.Part.REJECTS)
        if not self.run.job.chunks.filter(part=JobChunk.Part.REJECTS).exists():
            writer.write(ended(self.header).encode(errors="surrogateescape"))
        writer.write(bytes(self.rejects))
        writer.flush()
        self.rejects.clear()


def export(run: Run) -> None:
    """Writes the catalog as CSV. After a crash it begins again."""
    run.restart()
    with io.TextIOWrapper(io.BufferedWriter(_Stored(run), CHUNK_BYTES), encoding="utf-8", newline="") as stream:
        stream.write(codecs.BOM_UTF8.decode())
        write(stream, CSV, _counted(run))


def _counted(run: Run) -> Any:
    count = 0
    for product in catalog():
        yield product
        count += 1
        if count % EXPORT_EVERY == 0:
            run.check_end()
            run.note(done=EXPORT_EVERY)
    if count % EXPORT_EVERY:
        run.note(done=count % EXPORT_EVERY)


class _Stored(io.RawIOBase):
    """Writes into the result of a job, one piece at a time."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run
        self._writer = ChunkWriter(run.job, JobChunk.Part.RESULT)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        with transaction.atomic():
            self._writer.write(bytes(data))
            self._run.commit()
        return len(data)

    def close(self) -> None:
        if not self.closed:
            with transaction.atomic():
                self._writer.flush()
                self._run.commit()
        super().close()


def delete(job: Job, product_id: int) -> bool:
    """Deletes one product. False if it is deleted already."""
    product = live_products().filter(pk=product_id).first()
    if product is None:
        return False
    delete_product(product_id, None)
    log_change(job, product, "Deleted.")
    return True


def question_of_deletion(job: Job) -> str:
    """Says how many products will be deleted."""
    return f"{job.total:,} products will be deleted. Orders of them keep their lines, names and prices."


KINDS = (
    Kind(PREVIEW, "Preview of an import", CHANGE, preview, row="line", template=TEMPLATE, keeps_upload=True),
    Kind(IMPORT, "Import of products", CHANGE, import_file, row="line", template=TEMPLATE),
    Kind(
        DELETE,
        "Delete the products",
        "product_svc.delete_product",
        each_item(delete),
        question_of_deletion,
        row="product",
    ),
    Kind(EXPORT, "Export of products", "product_svc.view_product", export, row="product", only_reads=True),
)
