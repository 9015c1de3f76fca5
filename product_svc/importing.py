"""Taking a file of products into the catalog, in batches, each one transaction. Done again it changes nothing."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rest_framework.exceptions import ValidationError

from platform_core.api import field_errors
from platform_core.conf import reached
from product_svc.bulk import Wanted, merge_products
from product_svc.files import SOURCES, Record
from product_svc.serializers import ProductSerializer

BATCH = 500
REJECTED = "rejected"


@dataclass(slots=True)
class Import:
    """One run. ``reject`` gets what is left out, with the reasons; ``told`` is called after each batch and last."""

    reject: Callable[[Record, list[str]], None]
    told: Callable[[Counter[str]], None]
    allow_without_sku: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    lines: dict[str, int] = field(default_factory=dict)
    """Where each sku was; of a million they take some 150 MB."""
    serializer: ProductSerializer = field(default_factory=ProductSerializer)

    def run(self, records: Iterable[Record]) -> Counter[str]:
        """How many were new, changed, unchanged, rejected. What a batch has written stays, whatever follows."""
        batch: list[Wanted] = []
        for wanted in self._good(records):
            batch.append(wanted)
            if len(batch) >= BATCH:
                self._merge(batch)
                batch = []
        if batch:
            self._merge(batch)
        self.told(self.counts)
        return self.counts

    def _merge(self, batch: list[Wanted]) -> None:
        self.counts.update(outcome.value for outcome in merge_products(batch))
        self.told(self.counts)
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
        """What the API would say to it, too; else what is wrong."""
        try:
            values = self.serializer.run_validation(record.values)
        except ValidationError as error:
            return [f"{each['field']}: {each['detail']}" for each in field_errors(error.get_full_details())]
        problem = self._problem_of_sku(values["sku"], record.number)
        given = {SOURCES[name] for name in record.values}
        return [f"sku: {problem}"] if problem else Wanted(values, frozenset(values.keys() & given))

    def _problem_of_sku(self, sku: Any, number: int) -> str:
        """Each sku once: of two lines that differ, every run would change the product twice."""
        if sku is None:
            return "" if self.allow_without_sku else "Without one, every import would add the product anew."
        first = self.lines.setdefault(sku, number)
        return "" if first == number else f"It is on line {first}, too."
