"""Imports a file of products in batches, with one transaction per batch. A repeated import changes nothing."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rest_framework.exceptions import ValidationError

from platform_core.api.problems import field_errors
from platform_core.conf.failpoints import reached
from product_svc.bulk import Wanted, merge_products
from product_svc.files import SOURCES, Record
from product_svc.serializers import ProductSerializer

BATCH = 500
REJECTED = "rejected"


@dataclass(slots=True)
class Import:
    """One run of an import.

    ``reject`` is called with each rejected record and its reasons; ``on_progress`` after each batch and at the end.
    """

    reject: Callable[[Record, list[str]], None]
    on_progress: Callable[[Counter[str]], None]
    allow_without_sku: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    lines: dict[str, int] = field(default_factory=dict)
    """The line of each sku. A million skus take about 150 MB."""
    serializer: ProductSerializer = field(default_factory=ProductSerializer)

    def run(self, records: Iterable[Record]) -> Counter[str]:
        """Returns how many products were new, changed, unchanged or rejected. Written batches stay after a failure."""
        batch: list[Wanted] = []
        for wanted in self._good(records):
            batch.append(wanted)
            if len(batch) >= BATCH:
                self._merge(batch)
                batch = []
        if batch:
            self._merge(batch)
        self.on_progress(self.counts)
        return self.counts

    def _merge(self, batch: list[Wanted]) -> None:
        self.counts.update(outcome.value for outcome in merge_products(batch))
        self.on_progress(self.counts)
        reached("import.batch")

    def _good(self, records: Iterable[Record]) -> Iterator[Wanted]:
        for record in records:
            wanted = record.problem or self._read(record)
            if isinstance(wanted, Wanted):
                yield wanted
            else:
                self.reject(record, [wanted] if isinstance(wanted, str) else wanted)
                self.counts[REJECTED] += 1

    def _read(self, record: Record) -> Wanted | list[str]:
        """The validated product, or the problems. The rules are those of the API."""
        try:
            values = self.serializer.run_validation(record.values)
        except ValidationError as error:
            return [f"{each['field']}: {each['detail']}" for each in field_errors(error.get_full_details())]
        problem = self._problem_of_sku(values["sku"], record.number)
        given = {SOURCES[name] for name in record.values}
        return [f"sku: {problem}"] if problem else Wanted(values, frozenset(values.keys() & given))

    def _problem_of_sku(self, sku: Any, number: int) -> str:
        """Allows each sku once in a file. Otherwise two different lines would change the product in every run."""
        if sku is None:
            return "" if self.allow_without_sku else "It is missing. Every import would add the product again."
        first = self.lines.setdefault(sku, number)
        return "" if first == number else f"Line {first} has the same sku."
