"""Use cases for many products at once. The number of statements does not depend on the number of products."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

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
    """The result of merging one product into the catalog."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REFUSED = "rejected"


class Merged(NamedTuple):
    """``pk``: of the product that was there already. ``problem``: why nothing was done.

    ``changes``: the old and the new values by field, which only `plan_products` finds out.
    """

    outcome: Outcome
    pk: int | None = None
    problem: str = ""
    changes: Mapping[str, tuple[Any, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Wanted:
    """The wanted values of a product. Of an existing product, only the fields in ``given`` are changed.

    ``pk``: an id, which is used only if the sku finds no product. ``may_be_new``: whether a product that is not found
    is added.
    """

    values: Mapping[str, Any]
    given: frozenset[str]
    pk: int | None = None
    may_be_new: bool = True

    @property
    def sku(self) -> str | None:
        return self.values.get("sku")

    def changes(self, product: Product) -> dict[str, Any]:
        """The wanted values that differ from those of ``product``."""
        wanted = {name: self.values[name] for name in self.given}
        return {name: value for name, value in wanted.items() if getattr(product, name) != value}


def create_products(wanted: Sequence[Mapping[str, Any]]) -> list[Product]:
    """Creates all products, in this order, or none. Raises Conflict `sku_taken`, whose errors name the items."""
    while True:
        try:
            with transaction.atomic():
                return _create(wanted)
        except IntegrityError as error:
            if not _is_about_a_sku(error):
                raise
            if errors := _taken([values.get("sku") for values in wanted]):
                raise Conflict("A sku is taken or appears twice.", code="sku_taken", errors=errors) from None
            # The other product with the sku is gone in the meantime: try again.


def merge_products(wanted: Sequence[Wanted], *, taken: Set[int] = frozenset()) -> list[Merged]:
    """Updates existing products and adds the others, in one transaction.

    A product is found by its sku, else by its id. A product that is found by its id must have the same name, since the
    id may come from another shop; otherwise it is refused. If both have a sku and the skus differ, they are two
    products. A different stock is recorded as an adjustment. Products that already have the wanted values are not
    touched. A product is found only once, never if ``taken`` contains its id. Raises ValueError if a sku appears twice.
    """
    skus = [each.sku for each in wanted if each.sku]
    if len(set(skus)) < len(skus):
        raise ValueError("A sku appears twice.")
    while True:
        try:
            with writing():
                return _merge(wanted, taken)
        except (_Moved, IntegrityError, OperationalError) as error:
            if not _is_lost_race(error):
                raise
            # One of the products was changed concurrently: read them again and retry.


def plan_products(wanted: Sequence[Wanted], *, taken: Set[int] = frozenset()) -> list[Merged]:
    """What `merge_products` would do at this moment. Only reads."""
    return [_planned(each, product) for each, product in zip(wanted, _found(wanted, taken), strict=True)]


def _planned(wanted: Wanted, product: Product | str | None) -> Merged:
    if isinstance(product, str):
        return Merged(Outcome.REFUSED, problem=product)
    if product is None:
        return Merged(Outcome.NEW)
    changes = {name: (getattr(product, name), value) for name, value in wanted.changes(product).items()}
    return Merged(Outcome.CHANGED if changes else Outcome.UNCHANGED, product.pk, changes=changes)


class _Moved(Exception):
    """A product was deleted, or got another sku or name, between two reads."""


def _is_about_a_sku(error: DatabaseError) -> bool:
    return violated_constraint(error) == SKU_TAKEN


def _is_lost_race(error: Exception) -> bool:
    if isinstance(error, DatabaseError):
        return _is_about_a_sku(error) or getattr(error.__cause__, "sqlstate", None) == "40P01"
    return isinstance(error, _Moved)


def _create(wanted: Iterable[Mapping[str, Any]]) -> list[Product]:
    """Creates products in the order of their skus, so that concurrent calls with the same skus cannot deadlock."""
    products = [Product(**values) for values in wanted]
    for product, pk in zip(products, new_ids(Product, len(products)), strict=True):
        product.pk = pk
    Product.objects.bulk_create(sorted(products, key=lambda product: product.sku or ""))
    initial = StockMovement.Reason.INITIAL
    StockMovement.objects.bulk_create(movement(p.pk, p.stock, p.stock, initial) for p in products if p.stock)
    append(*(NewEvent(EventType.PRODUCT_CREATED, product.pk, snapshot(product)) for product in products))
    return products


def _taken(skus: Sequence[str | None]) -> list[FieldError]:
    """The errors of items whose sku is taken at present. It is called after the rollback."""
    there = set(_by_skus(skus).values_list("sku", flat=True))
    first: dict[str, int] = {}
    errors: list[FieldError] = []
    for index, sku in enumerate(skus):
        if sku in there:
            errors.append(_refused(index, "Another product has this sku."))
        elif sku and first.setdefault(sku, index) != index:
            errors.append(_refused(index, f"items[{first[sku]}] has the same sku."))
    return errors


def _refused(index: int, detail: str) -> FieldError:
    return {"field": f"items[{index}].sku", "code": "sku_taken", "detail": detail}


def _merge(wanted: Sequence[Wanted], taken: Set[int]) -> list[Merged]:
    found = _found(wanted, taken)
    there = {product: each for each, product in zip(wanted, found, strict=True) if isinstance(product, Product)}
    changed = _change({product.pk: each for product, each in there.items() if each.changes(product)})
    if missing := [each.values for each, product in zip(wanted, found, strict=True) if product is None]:
        _create(missing)
    return [
        Merged(Outcome.REFUSED, problem=each)
        if isinstance(each, str)
        else Merged(Outcome.NEW)
        if each is None
        else Merged(Outcome.CHANGED if each.pk in changed else Outcome.UNCHANGED, each.pk)
        for each in found
    ]


def _found(wanted: Sequence[Wanted], taken: Set[int]) -> list[Product | str | None]:
    """The product that each of them is about, or why it is refused; None for a new one."""
    by_sku = {product.sku: product for product in _by_skus([each.sku for each in wanted])}
    unknown = [each.pk for each in wanted if each.pk and each.sku not in by_sku]
    by_pk = {product.pk: product for product in live_products().filter(pk__in=unknown)} if unknown else {}
    found = [by_sku.get(each.sku) or _by_id(each, by_pk.get(each.pk or 0)) for each in wanted]
    seen = set(taken)
    for number, each in enumerate(found):
        if isinstance(each, Product):
            if each.pk in seen:
                found[number] = f"Product {each.pk} is on an earlier line, too."
            seen.add(each.pk)
    return found


def _by_id(wanted: Wanted, product: Product | None) -> Product | str | None:
    """``product`` has the id of ``wanted``, whose sku is unknown."""
    if product is not None and not (wanted.sku and product.sku) and product.name == wanted.values["name"]:
        return product
    if wanted.sku or (product is None and wanted.may_be_new):
        return None
    if product is None:
        return f"There is no product {wanted.pk}, and without a sku every import would add it again."
    return f"Product {product.pk} is named {product.name!r}, and {wanted.values['name']!r} in the file."


def _by_skus(skus: Iterable[str | None]) -> QuerySet[Product]:
    return live_products().filter(sku__in=[sku for sku in skus if sku])


def _change(wanted: Mapping[int, Wanted]) -> set[int]:
    """Locks the products in the order that reservations use, and changes them. Returns the ids of changed ones."""
    if not wanted:
        return set()
    locked = list(live_products().filter(pk__in=wanted).order_by("pk").select_for_update(no_key=True))
    if len(locked) < len(wanted) or not all(_is_still(product, wanted[product.pk]) for product in locked):
        raise _Moved
    changes = {product: found for product in locked if (found := wanted[product.pk].changes(product))}
    if changes:
        _apply(changes)
    return {product.pk for product in changes}


def _is_still(product: Product, wanted: Wanted) -> bool:
    """Whether a product that was found before it was locked would be found again."""
    return (wanted.sku is not None and product.sku == wanted.sku) or _by_id(wanted, product) is product


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
