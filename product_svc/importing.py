"""Imports a file of products in batches, with one transaction per batch. A repeated import changes nothing."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rest_framework.exceptions import ValidationError

from platform_core.api import field_errors
from platform_core.conf import reached
from product_svc.bulk import Merged, Wanted, merge_products, plan_products
from product_svc.files import ID, SOURCES, Record
from product_svc.serializers import ProductSerializer

BATCH = 500
REJECTED = "rejected"


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
    counts: Counter[str] = field(default_factory=Counter)
    lines: dict[str, int] = field(default_factory=dict)
    """The line of each sku. A million skus take about 150 MB."""
    found: set[int] = field(default_factory=set)
    """The ids of the existing products, so that no product is changed by two lines."""
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
        self.on_progress(self.counts)
        return self.counts

    def _merge(self, batch: Sequence[tuple[Record, Wanted]]) -> None:
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
        reached("import.batch")

    def _good(self, records: Iterable[Record]) -> Iterator[tuple[Record, Wanted]]:
        for record in records:
            wanted = record.problem or self._read(record)
            if isinstance(wanted, Wanted):
                yield record, wanted
            else:
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
