"""Imports a file of products in batches, with one transaction per batch. A repeated import changes nothing."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from rest_framework.exceptions import ValidationError

from platform_core.api import field_errors
from platform_core.conf import amount_text, reached
from product_svc.bulk import Merged, Outcome, Wanted, merge_products, plan_products
from product_svc.files import ID, SOURCES, Record
from product_svc.files import REJECTED as REJECTED_LINE
from product_svc.serializers import ProductSerializer

BATCH = 500
REJECTED = "rejected"
MAX_SHOWN = 60
"""The maximum length of a value that a preview shows, in characters."""


@dataclass(slots=True)
class Import:
    """One run of an import.

    ``reject`` is called with each rejected record and its reasons; ``on_progress`` after each batch and at the end. If
    ``preview`` is given, nothing is written, and it is called with each record and what would happen to its product.
    """

    reject: Callable[[Record, list[str]], None]
    on_progress: Callable[[Counter[str]], None]
    allow_without_sku: bool = False
    preview: Callable[[Record, Wanted, Merged], None] | None = None
    unit: str = "line"
    """What the numbers of records count."""
    committing: Callable[[], AbstractContextManager[Any]] = nullcontext
    """Surrounds the writing of each batch and the call of ``on_progress`` after it."""
    written: int = 0
    """The number of batches that an earlier run has written. They are read again, but neither written nor reported."""
    counts: Counter[str] = field(default_factory=Counter)
    lines: dict[str, int] = field(default_factory=dict)
    """The line of each sku. A million skus take about 150 MB."""
    found: set[int] = field(default_factory=set)
    """The ids of the existing products, so that no product is changed by two lines."""
    batches: int = 0
    """The number of batches so far."""
    serializer: ProductSerializer = field(default_factory=ProductSerializer)

    def run(self, records: Iterable[Record]) -> Counter[str]:
        """Returns how many products were new, changed, unchanged or rejected. Written batches stay after a failure."""
        batch: list[tuple[Record, Wanted]] = []
        for each in self._good(records):
            batch.append(each)
            if len(batch) >= BATCH:
                self._merge(batch)
                batch = []
        if batch:
            self._merge(batch)
        with self.committing():
            self.on_progress(self.counts)
        return self.counts

    def _merge(self, batch: Sequence[tuple[Record, Wanted]]) -> None:
        self.batches += 1
        if self.batches <= self.written:
            self.found.update(each.pk for each in plan_products([wanted for _, wanted in batch]) if each.pk)
            return
        with self.committing():
            self._write(batch)
        reached("import.batch")

    def _write(self, batch: Sequence[tuple[Record, Wanted]]) -> None:
        merge = plan_products if self.preview else merge_products
        merged = merge([wanted for _, wanted in batch], taken=self.found)
        self.counts.update(each.outcome.value for each in merged)
        self.found.update(each.pk for each in merged if each.pk)
        for (record, wanted), each in zip(batch, merged, strict=True):
            if each.problem:
                self.reject(record, [f"id: {each.problem}"])
            elif self.preview:
                self.preview(record, wanted, each)
        self.on_progress(self.counts)

    def _good(self, records: Iterable[Record]) -> Iterator[tuple[Record, Wanted]]:
        for record in records:
            wanted = record.problem or self._read(record)
            if isinstance(wanted, Wanted):
                yield record, wanted
            elif self.batches >= self.written:
                self.reject(record, [wanted] if isinstance(wanted, str) else wanted)
                self.counts[REJECTED] += 1

    def _read(self, record: Record) -> Wanted | list[str]:
        """The validated product, or the problems. The rules are those of the API."""
        given, pk = _without_id(record.values)
        try:
            values = self.serializer.run_validation(given)
        except ValidationError as error:
            return [f"{each['field']}: {each['detail']}" for each in field_errors(error.get_full_details())]
        if isinstance(pk, str):
            return [f"id: {pk}"]
        problem = self._problem_of_sku(values["sku"], pk, record.number)
        fields = values.keys() & {SOURCES[name] for name in given}
        may_be_new = self.allow_without_sku or values["sku"] is not None
        return [f"sku: {problem}"] if problem else Wanted(values, frozenset(fields), pk, may_be_new)

    def _problem_of_sku(self, sku: Any, pk: int | None, number: int) -> str:
        """Allows each sku once in a file. Otherwise two different lines would change the product in every run."""
        if sku is None:
            is_fine = self.allow_without_sku or pk
            return "" if is_fine else "It is missing, and so is an id. Every import would add the product again."
        first = self.lines.setdefault(sku, number)
        return "" if first == number else f"{self.unit.capitalize()} {first} has the same sku."


def described(record: Record, wanted: Wanted, merged: Merged, unit: str = "line") -> str:
    """One line that says what an import would do with a record: the new product, or old and new values."""
    product = _shown(wanted.sku or (f"product {wanted.pk}" if wanted.pk else wanted.values["name"]))
    return f"{unit} {record.number}: {product}: {_changes(wanted, merged)}"


def _changes(wanted: Wanted, merged: Merged) -> str:
    if merged.outcome == Outcome.NEW:
        given = {name: wanted.values[source] for name, source in SOURCES.items() if source in wanted.given}
        return "new: " + ", ".join(f"{name} {_shown(value)}" for name, value in given.items() if value is not None)
    changes = {name: merged.changes[source] for name, source in SOURCES.items() if source in merged.changes}
    return ", ".join(f"{name} {_shown(old)} → {_shown(new)}" for name, (old, new) in changes.items())


def _shown(value: Any) -> str:
    """A value on one line, shortened."""
    if isinstance(value, Decimal):
        return amount_text(value)
    text = " ".join(str("" if value is None else value).split())
    text = text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
    return (text if text.isprintable() else repr(text)) or "(empty)"


def reason_of(record: Record, reasons: Sequence[str], unit: str = "line") -> str:
    """Why a record was rejected, on one line with its number."""
    return f"{unit} {record.number}: {' '.join('; '.join(reasons).split())}"


def rejected_text(record: Record, reason: str) -> str:
    """A rejected record in a file of rejects: unchanged, below a line with the reason."""
    return f"{REJECTED_LINE}{reason}\n{ended(record.raw)}"


def ended(line: str) -> str:
    """The line with a line ending; an empty text stays empty."""
    return line if not line or line.endswith(("\n", "\r")) else line + "\n"


def summary(counts: Counter[str]) -> str:
    """The counts of a run, such as "1 new, 0 changed, 2 unchanged, 0 rejected"."""
    return ", ".join(f"{counts[name]:,} {name}" for name in ("new", "changed", "unchanged", "rejected"))


def _without_id(values: Any) -> tuple[Any, int | str | None]:
    """The values without the id, and the id: None if there is none, a text that says what is wrong with it."""
    if not isinstance(values, dict) or ID not in values:
        return values, None
    rest = {name: value for name, value in values.items() if name != ID}
    text = "" if values[ID] is None else str(values[ID])
    if not text:
        return rest, None
    if not (_IS_ID.fullmatch(text) and int(text) <= _BIGGEST):
        return rest, "Expected the id of a product, such as 7, or nothing."
    return rest, int(text)


_BIGGEST = 2**63 - 1
_IS_ID = re.compile("[1-9][0-9]{0,18}", re.ASCII)
