"""For any history and any order of arrival of its events, the figures equal a naive recount."""

import random
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_svc import catching_up
from analytics_svc.models import DailyFigure, Fact, FeedPosition, Figure, ParkedEvent, ProductFigure
from tests.analytics_svc.conftest import at, today

pytestmark = pytest.mark.django_db
MOVES = {"confirmed": ("cancelled", "shipped"), "shipped": ("delivered",), "queued": ("sent", "failed")}
MOVES["failed"] = ("sent", "failed")
PAID = ("confirmed", "shipped", "delivered")


@dataclass
class Made:
    """The present state of a user, product, order or notification."""

    kind: str
    pk: int
    day: int
    version: int = 0
    deleted: bool = False
    data: dict[str, Any] = field(default_factory=dict)


class Story:
    """A random history of allowed steps, which writes its events to the feeds."""

    def __init__(self, shop, dice):
        self.shop, self.dice = shop, dice
        self.made, self.read = [], {}

    def some(self, kind, **wanted):
        found = [m for m in self.made if m.kind == kind and all(m.data.get(k) in v for k, v in wanted.items())]
        return self.dice.choice(found) if found else None

    def step(self, what):
        getattr(self, what)()

    def tell(self, made, type_, **data):
        made.version += 1
        made.data |= data
        content = {**made.data, "version": made.version, "createdAt": at(made.day)}
        getattr(self.shop, f"{made.kind}s").tell(type_, made.pk, content)

    def new(self, kind, type_, **data):
        made = Made(kind, sum(m.kind == kind for m in self.made) + 1, self.dice.choice([0, 0, 1, 5, 40]))
        self.made.append(made)
        self.tell(made, type_, **data)

    def come(self):
        self.new("user", "user.created", isActive=True)

    def go(self):
        user = self.some("user")
        if user and not user.deleted:
            user.deleted = True
            self.tell(user, "user.deleted")

    def list_product(self):
        self.new("product", "product.created", name=f"P{len(self.made)}", category="", price=self.price(), stock=5)

    def price(self):
        return Decimal(self.dice.choice(["0", "0.01", "0.1", "19.99", "100", "9999999999.99"]))

    def reprice(self):
        product = self.some("product")
        if product and not product.deleted:
            self.tell(product, "product.updated", price=self.price(), name=f"renamed {product.version}")

    def restock(self):
        """It may be a deleted product, because orders of it may be cancelled."""
        product = self.some("product")
        if product:
            self.tell(product, "stock.changed", stock=self.dice.choice([0, 3, 10, 11, 1_000_000]), delta=1)

    def unlist(self):
        product = self.some("product")
        if product and not product.deleted:
            product.deleted = True
            self.tell(product, "product.deleted")

    def place(self):
        products = self.dice.sample(range(1, 6), self.dice.randint(1, 3))
        items = []
        for product in products:
            price, quantity = self.price(), self.dice.choice([1, 2, 1_000_000])
            line = {"productId": str(product), "name": "x", "quantity": quantity, "unitPrice": price}
            items.append({**line, "subtotal": quantity * price})
        total = sum(item["subtotal"] for item in items)
        self.new("order", "order.confirmed", status="confirmed", items=items, total=total, userId="1")

    def move(self):
        order = self.some("order", status=("confirmed", "shipped"))
        if order:
            status = self.dice.choice(MOVES[order.data["status"]])
            self.tell(order, f"order.{status}", status=status)

    def notify(self):
        status = self.dice.choice(["sent", "failed"])
        self.new("notification", f"notification.{status}", status=status, userId="1")

    def notify_again(self):
        notification = self.some("notification", status=("failed",))
        if notification:
            status = self.dice.choice(["sent", "failed"])
            self.tell(notification, f"notification.{status}", status=status)

    def queue_again(self):
        """A failed message is queued again, which writes no event."""
        notification = self.some("notification", status=("failed",))
        if notification:
            self.shop.notifications.rows[notification.pk]["status"] = "queued"

    def say_something_unheard_of(self):
        feed = self.dice.choice(list(self.shop.feeds.values()))
        feed.tell(self.dice.choice(["order.noted", "user", "x.y", "stock.counted", "orders.confirmed"]), 1, {"a": 1})

    def repeat(self):
        """Repeats an event under a new id."""
        feed = self.dice.choice(list(self.shop.feeds.values()))
        if feed.events:
            event = self.dice.choice(feed.events)
            feed.tell(event["type"], event["subject"], event["data"])

    def swap(self):
        """Swaps two events of one resource, as overlapping transactions may do."""
        feed = self.dice.choice(list(self.shop.feeds.values()))
        unread = feed.events[self.read.get(id(feed), 0) :]
        pairs = [(x, y) for n, x in enumerate(unread) for y in unread[n + 1 :] if x["subject"] == y["subject"]]
        if pairs:
            one, other = self.dice.choice(pairs)
            for name in ("type", "data"):
                one[name], other[name] = other[name], one[name]

    def look(self, report):
        """Events that have been read keep their order from now on."""
        report("summary")
        self.read = {id(feed): len(feed.events) for feed in self.shop.feeds.values()}


STEPS = [name for name in vars(Story) if not name.startswith("_")]
STEPS = [name for name in STEPS if name not in ("some", "step", "tell", "new", "price", "look")]


def recount(made, days):
    """The reports, computed naively from all resources."""
    users = [m for m in made if m.kind == "user"]
    products = [m for m in made if m.kind == "product" and not m.deleted]
    orders = [m for m in made if m.kind == "order"]
    paid = [m for m in orders if m.data["status"] in PAID]
    notifications = [m for m in made if m.kind == "notification"]
    revenue = sum((m.data["total"] for m in paid), Decimal(0))
    dates = [(today() - timedelta(days=n)).date().isoformat() for n in range(days - 1, -1, -1)]
    ago = dict(zip(dates, range(days - 1, -1, -1), strict=True))
    stocks = [m.data["stock"] for m in products]
    return {
        "users": {
            "total": sum(not m.deleted for m in users),
            "newToday": sum(m.day == 0 for m in users),
            "byDay": [{"date": date, "count": sum(m.day == ago[date] for m in users)} for date in dates],
        },
        "products": {
            "total": len(products),
            "outOfStock": stocks.count(0),
            "stockUnits": sum(stocks),
            "stockValue": sum((m.data["stock"] * m.data["price"] for m in products), Decimal(0)),
            "lowStock": [
                {"productId": str(m.pk), "name": m.data["name"], "stock": m.data["stock"]}
                for m in sorted(products, key=lambda m: (m.data["stock"], m.pk))
                if m.data["stock"] <= 10
            ][:10],
            "topSellers": top_sellers(made, paid),
        },
        "orders": {
            "total": len(orders),
            "byStatus": {
                status: sum(m.data["status"] == status for m in orders)
                for status in ("confirmed", "cancelled", "shipped", "delivered", "rejected")
            },
            "revenue": revenue,
            "averageOrderValue": (revenue / len(paid)).quantize(Decimal("0.01"), ROUND_HALF_UP) if paid else 0,
            "byDay": [
                {
                    "date": date,
                    "orders": sum(m.day == ago[date] for m in orders),
                    "revenue": sum(m.data["total"] for m in paid if m.day == ago[date]),
                }
                for date in dates
            ],
        },
        "notifications": {
            "total": len(notifications),
            "byStatus": {s: sum(m.data["status"] == s for m in notifications) for s in ("sent", "failed")},
            "byDay": [
                {
                    "date": date,
                    "sent": sum(m.day == ago[date] and m.data["status"] == "sent" for m in notifications),
                    "failed": sum(m.day == ago[date] and m.data["status"] == "failed" for m in notifications),
                }
                for date in dates
            ],
        },
    }


def top_sellers(made, paid):
    units, revenue = defaultdict(int), defaultdict(Decimal)
    for item in (item for order in paid for item in order.data["items"]):
        units[int(item["productId"])] += item["quantity"]
        revenue[int(item["productId"])] += item["subtotal"]
    names = {m.pk: m.data["name"] for m in made if m.kind == "product"}
    return [
        {"productId": str(pk), "name": names.get(pk, ""), "units": units[pk], "revenue": revenue[pk]}
        for pk in sorted(units, key=lambda pk: (-units[pk], pk))
    ][:10]


def assert_recounted(story, report) -> None:
    """Asserts that every report is current and equals a recount."""
    for name, expected in recount(story.made, 7).items():
        found = report(name, "?days=7")
        assert found.pop("stale") == []
        assert found.pop("asOf")
        assert (found.pop("currency"), found.pop("timeZone")) == ("USD", "UTC")
        assert found == expected


@given(
    steps=st.lists(st.sampled_from(STEPS), min_size=30, max_size=80),
    looks=st.sets(st.integers(0, 80), max_size=6),
    page=st.sampled_from([1, 2, 3, 7, 1000]),
    seed=st.integers(0, 2**32),
)
def test_the_figures_are_those_of_a_naive_recount(shop, report, steps, looks, page, seed):
    start_again(shop)
    story = Story(shop, random.Random(seed))
    was, catching_up.PAGE = catching_up.PAGE, page
    try:
        for number, step in enumerate(steps):
            if number in looks:
                story.look(report)
            story.step(step)
        assert_recounted(story, report)
    finally:
        catching_up.PAGE = was


def start_again(shop):
    for model in (DailyFigure, Fact, FeedPosition, Figure, ParkedEvent, ProductFigure):
        model.objects.all().delete()
    for feed in shop.feeds.values():
        feed.events.clear()
        feed.rows.clear()
        feed.gone.clear()
        feed.trimmed = 0
