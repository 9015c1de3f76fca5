"""The demo catalog, and the stock movements of the demo orders."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, Struct

from platform_core.auth import Kind
from platform_core.conf import decimals
from platform_core.db import PastEvent, Writer, new_ids, sketch, writing
from platform_core.http import PlatformError
from platform_core.tools import DEMO, OPENING, Batch, Calendar, Spec, batches_of, draw, raw
from platform_core.topology import ORDER
from platform_core.vocabulary import WITHOUT_STOCK, EventType, OrderStatus
from product_svc.actors import COMMAND
from product_svc.events import snapshot
from product_svc.models import Product, ReservationLine, StockMovement, StockReservation
from product_svc.services import adjust_stock, live_products

_LOT = 20
_OUT_OF_STOCK_EVERY = 17
_LOW_EVERY = 9
_UPDATE = """
    UPDATE product_svc_product AS p
    SET stock = p.stock + moved.delta, version = p.version + moved.changes,
        updated_at = greatest(p.updated_at, moved.updated_at)
    FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::timestamptz[]) AS moved (id, delta, changes, updated_at)
    WHERE p.id = moved.id
"""


class Shelf(NamedTuple):
    """A category: the prefix of its skus, its prices, its things (cheap ones first), and their materials."""

    category: str
    code: str
    prices: tuple[int, int]
    things: Sequence[str]
    kinds: Sequence[str]
    praise: str


def _shelf(category: str, low: int, high: int, things: str, kinds: str, praise: str) -> Shelf:
    return Shelf(category, category[:3].upper(), (low, high), things.split(","), kinds.split(","), praise)


SHELVES = (
    _shelf(
        "lighting",
        15,
        180,
        "Night Light,Lantern,Reading Light,Desk Lamp,Pendant Light,Floor Lamp",
        "Brass,Paper,Linen,Glass,Walnut,Bamboo,Folding,Dimmable",
        "Warm light that is easy on the eyes.",
    ),
    _shelf(
        "kitchen",
        8,
        90,
        "Salt Mill,Mixing Bowl,Cutting Board,Kettle,Frying Pan,Chef's Knife,Coffee Grinder",
        "Oak,Cast Iron,Enamel,Steel,Copper,Ceramic,Olive Wood",
        "Made to be used every day.",
    ),
    _shelf(
        "office",
        5,
        60,
        "Notebook,Pencil Case,Letter Opener,Monthly Planner,Desk Tray,Fountain Pen",
        "Leather,Recycled,Cork,Dotted,Canvas,Pocket,Classic",
        "Keeps work and desk in order.",
    ),
    _shelf(
        "electronics",
        20,
        900,
        "Charger,Mouse,Webcam,Keyboard,Speaker,Headphones,Monitor,Laptop",
        "Wireless,Compact,Silent,Ergonomic,Portable,Slim,Studio",
        "Two years of warranty.",
    ),
    _shelf(
        "garden",
        6,
        120,
        "Plant Pot,Trowel,Bird Feeder,Watering Can,Pruning Shears,Garden Hose,Rain Barrel",
        "Zinc,Terracotta,Steel,Green,Copper,Light,Sturdy",
        "Stands up to any weather.",
    ),
    _shelf(
        "textiles",
        12,
        140,
        "Tea Towel,Bath Towel,Cushion,Table Cloth,Duvet Cover,Blanket",
        "Wool,Cotton,Linen,Striped,Quilted,Knitted,Waffle",
        "Soft, and washable at 40 °C.",
    ),
    _shelf(
        "outdoor",
        10,
        350,
        "Water Bottle,Head Torch,Hammock,Camping Stove,Backpack,Sleeping Bag,Tent",
        "Light,Insulated,Waterproof,Compact,Alpine,Trail,Family",
        "For a day out or a whole summer.",
    ),
    _shelf(
        "toys",
        7,
        70,
        "Spinning Top,Puzzle,Kite,Teddy Bear,Board Game,Building Blocks,Marble Run",
        "Wooden,Magnetic,Colourful,Classic,Giant,Travel,Tiny",
        "For rainy afternoons, from three years up.",
    ),
)


def products(spec: Spec, batches: Iterator[Batch]) -> Iterator[Batch]:
    """Creates the missing products and yields all of them. The rows of a batch are ``{"id", "name", "price"}``."""
    calendar = Calendar(spec)
    for numbers in batches_of(spec.products):
        wanted = [_product(spec, calendar, number) for number in numbers]
        there = _known([str(product.sku) for product in wanted])
        missing = [product for product in wanted if product.sku not in there]
        written = _make(missing)
        shown = [there.get(product.sku, product) for product in wanted]
        rows = [raw({"id": product.pk, "name": product.name, "price": product.price}) for product in shown]
        yield Batch("products", len(wanted), rows, written)


def _known(skus: Sequence[str]) -> dict[str | None, Product]:
    return {product.sku: product for product in live_products().filter(sku__in=skus).only("sku", "name", "price")}


def _product(spec: Spec, calendar: Calendar, number: int) -> Product:
    chance = draw(spec, "product", number)
    shelf = chance.choice(SHELVES)
    kind, rank = chance.choice(shelf.kinds), chance.randrange(len(shelf.things))
    thing = shelf.things[rank]
    listed = calendar.moment(OPENING * (number + chance.random() * 0.5) / spec.products)
    return Product(
        name=f"{kind} {thing}",
        description=f"{kind} {thing.lower()}. {shelf.praise}",
        category=shelf.category,
        sku=f"{shelf.code}-{spec.seed}-{number:05}",
        price=_price(chance, shelf, rank),
        stock=chance.randrange(30, 150, 5),
        created_at=listed,
        updated_at=listed,
    )


def _price(chance: Random, shelf: Shelf, rank: int) -> Decimal:
    """A price such as 19.99, or 19 in a currency without decimals. Later things of a category cost more."""
    low, high = shelf.prices
    whole = Decimal(round(low * float(high / low) ** ((rank + chance.random()) / len(shelf.things))))
    below = Decimal(chance.choice(("0.01", "0.05", "0.10", "0.50")))
    return whole - below if decimals() else max(whole - 1, Decimal(1))


def _make(missing: Sequence[Product]) -> dict[str, int]:
    if not missing:
        return {}
    for product, pk in zip(missing, new_ids(Product, len(missing)), strict=True):
        product.pk = pk
    with writing() as writer:
        writer.copy(missing)
        writer.copy([_movement(p, p.stock, StockMovement.Reason.INITIAL, p.created_at) for p in missing])
        writer.append(DEMO, (PastEvent(p.created_at, EventType.PRODUCT_CREATED, p.pk, snapshot(p)) for p in missing))
    return writer.written


class Item(Struct, rename="camel"):
    product_id: int
    name: str
    unit_price: Decimal
    quantity: int


class Change(Struct):
    status: str
    at: datetime


class Sale(Struct):
    """The part of an order that stock needs: its id, its items, and whether it was rejected or cancelled."""

    id: int
    steps: list[Change]
    items: list[Item]

    @property
    def is_rejected(self) -> bool:
        return self.steps[0].status == OrderStatus.REJECTED

    @property
    def reserved_at(self) -> datetime:
        return self.steps[0].at

    @property
    def released_at(self) -> datetime | None:
        return next((step.at for step in self.steps if step.status in WITHOUT_STOCK), None)


class _Step(NamedTuple):
    """One movement in the history. Steps sort by time, and those of one order by product id."""

    at: datetime
    order_id: int
    product_id: int
    delta: int


def reserve(spec: Spec, batches: Iterator[Batch]) -> Iterator[Batch]:
    """Reserves the stock of each order, and releases it for cancelled orders. A rejected order leaves a tombstone.

    An order whose stock cannot be reserved (a tombstone refuses its id, or a product is deleted) is not passed on.
    After the last batch, if any order was new, some products are sold out (see `_sell_out`).
    """
    through, some_are_new = 0, False
    for batch in batches:
        if batch.rows:
            with writing() as writer:
                batch.rows = _reserve(writer, batch.rows)
            batch.written |= writer.written
        through, some_are_new = through + batch.count, some_are_new or bool(batch.rows)
        yield batch
    if some_are_new and through >= spec.orders:
        take_stock(spec)


def _reserve(writer: Writer, rows: Sequence[Raw]) -> list[Raw]:
    sales = [msgspec.json.decode(row, type=Sale) for row in rows]
    refused = set(StockReservation.objects.filter(pk__in=[sale.id for sale in sales]).values_list("pk", flat=True))
    books = _Books.opened({item.product_id for sale in sales for item in sale.items})
    taken = [
        (row, sale)
        for row, sale in zip(rows, sales, strict=True)
        if sale.id not in refused and all(item.product_id in books.products for item in sale.items)
    ]
    books.enter([sale for _, sale in taken])
    books.close(writer)
    writer.copy([_reservation(sale) for _, sale in taken])
    writer.copy([line for _, sale in taken for line in _lines(sale)])
    return [row for row, _ in taken]


def _reservation(sale: Sale) -> StockReservation:
    """A rejected order has never held stock: what it has is the tombstone of its release."""
    released_at = sale.released_at
    status = StockReservation.Status.RELEASED if released_at else StockReservation.Status.RESERVED
    return sketch(
        StockReservation,
        order_id=sale.id,
        status=status.value,
        created_at=sale.reserved_at,
        released_at=None if sale.is_rejected else released_at,
    )


def _lines(sale: Sale) -> list[ReservationLine]:
    return [
        sketch(
            ReservationLine,
            reservation_id=sale.id,
            product_id=item.product_id,
            name=item.name,
            unit_price=item.unit_price,
            quantity=item.quantity,
        )
        for item in ([] if sale.is_rejected else sale.items)
    ]


@dataclass(slots=True)
class _Books:
    """The products of a batch with their changes of stock. They are locked in id order, as by all reservations."""

    products: dict[int, Product]
    before: dict[int, tuple[int, int]]
    """Stock and version of each product when it was locked."""
    movements: list[StockMovement] = field(default_factory=list)
    events: list[PastEvent] = field(default_factory=list)

    @classmethod
    def opened(cls, ids: set[int]) -> "_Books":
        rows = live_products().filter(pk__in=ids).order_by("pk").select_for_update(no_key=True)
        products = {product.pk: product for product in rows.defer("text", "description")}
        return cls(products, {product.pk: (product.stock, product.version) for product in products.values()})

    def enter(self, sales: Sequence[Sale]) -> None:
        """Applies the steps in the order of time. Products that run out are restocked to fit the demand."""
        steps = sorted(step for sale in sales for step in _steps(sale))
        lots: dict[int, int] = {}
        for step in steps:
            lots[step.product_id] = lots.get(step.product_id, _LOT) + max(0, -2 * step.delta)
        for step in steps:
            product = self.products[step.product_id]
            if product.stock + step.delta < 0:
                self._move(product, lots[product.pk], StockMovement.Reason.ADJUSTMENT, step.at, reason="received")
            kind = StockMovement.Reason.RESERVATION if step.delta < 0 else StockMovement.Reason.RELEASE
            self._move(product, step.delta, kind, step.at, order_id=step.order_id)

    def _move(
        self,
        product: Product,
        delta: int,
        kind: StockMovement.Reason,
        at: datetime,
        *,
        order_id: int | None = None,
        reason: str = "",
    ) -> None:
        product.stock += delta
        product.version += 1
        product.updated_at = at
        self.movements.append(_movement(product, delta, kind, at, order_id=order_id, reason=reason))
        data: dict[str, Any] = {**snapshot(product), "delta": delta, "reason": kind.value}
        if order_id is not None:
            data["orderId"] = str(order_id)
        self.events.append(PastEvent(at, EventType.STOCK_CHANGED, product.pk, data))

    def close(self, writer: Writer) -> None:
        products = self.products.values()
        deltas = [product.stock - self.before[product.pk][0] for product in products]
        changes = [product.version - self.before[product.pk][1] for product in products]
        ids, times = [product.pk for product in products], [product.updated_at for product in products]
        writer.cursor.execute(_UPDATE, [ids, deltas, changes, times])
        writer.copy(self.movements)
        writer.append(DEMO, self.events)


def _steps(sale: Sale) -> Iterator[_Step]:
    for item in [] if sale.is_rejected else sale.items:
        yield _Step(sale.reserved_at, sale.id, item.product_id, -item.quantity)
        if sale.released_at:
            yield _Step(sale.released_at, sale.id, item.product_id, item.quantity)


def _movement(
    product: Product,
    delta: int,
    kind: StockMovement.Reason,
    at: datetime,
    *,
    order_id: int | None = None,
    reason: str = "",
) -> StockMovement:
    return sketch(
        StockMovement,
        product_id=product.pk,
        delta=delta,
        kind=kind.value,
        reason=reason,
        order_id=order_id,
        stock=product.stock,
        actor=COMMAND if order_id is None else f"{Kind.SERVICE}:{ORDER.name}",
        created_at=at,
    )


def take_stock(spec: Spec) -> None:
    """Adjusts the stock so that some products are sold out and some nearly so."""
    calendar = Calendar(spec)
    for numbers in batches_of(spec.products):
        targets = {number: target for number in numbers if (target := _target(number)) is not None}
        skus = {number: str(_product(spec, calendar, number).sku) for number in targets}
        known = dict(live_products().filter(sku__in=skus.values()).values_list("sku", "pk"))
        for number, target in targets.items():
            if skus[number] in known:
                _lower(known[skus[number]], target)


def _target(number: int) -> int | None:
    """The final stock of the product with this number, or None if it stays as it is."""
    if number % _OUT_OF_STOCK_EVERY == _OUT_OF_STOCK_EVERY - 5:
        return 0
    return 1 + number % 7 if number % _LOW_EVERY == _LOW_EVERY - 2 else None


def _lower(product_id: int, target: int) -> None:
    stock = live_products().filter(pk=product_id).values_list("stock", flat=True).first()
    if stock is not None and stock > target:
        with suppress(PlatformError):  # sold or deleted in the meantime
            adjust_stock(product_id, target - stock, "counted")


STEPS = {"products": products, "reserve": reserve}
