"""Use cases over many products at once. A thousand take as many statements as one, and the books are kept alike."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.db import DatabaseError, IntegrityError, OperationalError, connection, transaction
from django.db.models import QuerySet
from django.utils.timezone import now

from platform_core.api import encode
from platform_core.db import new_ids, violated_constraint, writing
from platform_core.events import NewEvent, append
from platform_core.http import Conflict, FieldError
from platform_core.vocabulary import EventType
from product_svc.events import snapshot
from product_svc.models import SKU_TAKEN, Product, StockMovement
from product_svc.services import events_of_change, live_products, movement
from product_svc.statements import MERGE, merged


class Outcome(StrEnum):
    """What became of a product that was merged into the catalog."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A product as it is to be. ``given``: what is to hold of one that is there; the rest of that stays as it is."""

    values: Mapping[str, Any]
    given: frozenset[str]

    @property
    def sku(self) -> str | None:
        return self.values.get("sku")

    def changes(self, product: Product) -> dict[str, Any]:
        """The fields in which ``product`` is different."""
        wanted = {name: self.values[name] for name in self.given}
        return {name: value for name, value in wanted.items() if getattr(product, name) != value}


def create_products(wanted: Sequence[Mapping[str, Any]]) -> list[Product]:
    """All of them, in this order, or none. Raises Conflict `sku_taken`, whose errors name the items."""
    while True:
        try:
            with transaction.atomic():
                return _create(wanted)
        except IntegrityError as error:
            if not _is_about_a_sku(error):
                raise
            if errors := _taken([values.get("sku") for values in wanted]):
                raise Conflict("A sku is taken, or given twice.", code="sku_taken", errors=errors) from None
            # Whoever had the sku has given it up meanwhile.


def merge_products(wanted: Sequence[Wanted]) -> list[Outcome]:
    """Change the products that are there, by their skus, and add the others; one transaction.

    A stock is recorded as an adjustment by the difference. What is as wanted already is not touched; what has no sku is
    new. Raises ValueError when a sku is wanted twice.
    """
    skus = [each.sku for each in wanted if each.sku]
    if len(set(skus)) < len(skus):
        raise ValueError("A sku is wanted twice.")
    while True:
        try:
            with writing():
                return _merge(wanted)
        except (_Moved, IntegrityError, OperationalError) as error:
            if not _is_lost_race(error):
                raise
            # Somebody was quicker with one of these products; what they left is looked at anew.


class _Moved(Exception):
    """A product was deleted, or got another sku, between two looks."""


def _is_about_a_sku(error: DatabaseError) -> bool:
    return violated_constraint(error) == SKU_TAKEN


def _is_lost_race(error: Exception) -> bool:
    if isinstance(error, DatabaseError):
        return _is_about_a_sku(error) or getattr(error.__cause__, "sqlstate", None) == "40P01"
    return isinstance(error, _Moved)


def _create(wanted: Iterable[Mapping[str, Any]]) -> list[Product]:
    """In the order of skus: of two who add the same ones, the second waits for the first, and neither for the other."""
    products = [Product(**values) for values in wanted]
    for product, pk in zip(products, new_ids(Product, len(products)), strict=True):
        product.pk = pk
    Product.objects.bulk_create(sorted(products, key=lambda product: product.sku or ""))
    initial = StockMovement.Reason.INITIAL
    StockMovement.objects.bulk_create(movement(p.pk, p.stock, p.stock, initial) for p in products if p.stock)
    append(*(NewEvent(EventType.PRODUCT_CREATED, product.pk, snapshot(product)) for product in products))
    return products


def _taken(skus: Sequence[str | None]) -> list[FieldError]:
    """Which items cannot have their sku. Asked after the rollback, so it is the state of now."""
    there = set(_by_skus(skus).values_list("sku", flat=True))
    first: dict[str, int] = {}
    errors: list[FieldError] = []
    for index, sku in enumerate(skus):
        if sku in there:
            errors.append(_refused(index, "Another product has this sku."))
        elif sku and first.setdefault(sku, index) != index:
            errors.append(_refused(index, f"items[{first[sku]}] has this sku, too."))
    return errors


def _refused(index: int, detail: str) -> FieldError:
    return {"field": f"items[{index}].sku", "code": "sku_taken", "detail": detail}


def _merge(wanted: Sequence[Wanted]) -> list[Outcome]:
    there = {product.sku: product for product in _by_skus([each.sku for each in wanted])}
    known = {each.sku: each for each in wanted if each.sku in there}
    changed = _change({sku: each for sku, each in known.items() if each.changes(there[sku])})
    if missing := [each.values for each in wanted if each.sku not in known]:
        _create(missing)
    return [
        Outcome.NEW if each.sku not in known else Outcome.CHANGED if each.sku in changed else Outcome.UNCHANGED
        for each in wanted
    ]


def _by_skus(skus: Iterable[str | None]) -> QuerySet[Product]:
    return live_products().filter(sku__in=[sku for sku in skus if sku])


def _change(wanted: Mapping[str | None, Wanted]) -> set[str | None]:
    """Lock these products, in the order in which reservations do; the skus of those that are still to be changed."""
    if not wanted:
        return set()
    locked = list(_by_skus(wanted).order_by("pk").select_for_update(no_key=True))
    if len(locked) < len(wanted):
        raise _Moved
    changes = {product: found for product in locked if (found := wanted[product.sku].changes(product))}
    if changes:
        _apply(changes)
    return {product.sku for product in changes}


def _apply(changes: Mapping[Product, Mapping[str, Any]]) -> None:
    moment = now()
    deltas = {product: values.get("stock", product.stock) - product.stock for product, values in changes.items()}
    for product, values in changes.items():
        for name, value in values.items():
            setattr(product, name, value)
        product.version, product.updated_at = product.version + 1, moment
    products = encode([merged(product, delta) for product, delta in deltas.items()]).decode()
    with connection.cursor() as cursor:
        cursor.execute(MERGE, {"products": products, "at": moment})
        stocks = dict(cursor.fetchall())
    for product in changes:
        product.stock = stocks[product.pk]
    adjustment = StockMovement.Reason.ADJUSTMENT
    StockMovement.objects.bulk_create(
        movement(p.pk, delta, p.stock, adjustment, reason="import") for p, delta in deltas.items() if delta
    )
    append(*(event for product, delta in deltas.items() for event in events_of_change(product, delta)))
