"""After any operations, stock is the sum of the movements, and reserved pieces are missing from it."""

import random
import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from product_svc.models import Product, StockMovement, StockReservation
from tests.wire import at_once

PRODUCTS, ORDERS = range(3), range(4)

product = st.sampled_from(PRODUCTS)
order = st.sampled_from(ORDERS)
pieces = st.integers(1, 6)
step = st.one_of(
    st.tuples(st.just("reserve"), order, st.lists(st.tuples(product, pieces), min_size=1, max_size=4)),
    st.tuples(st.just("release"), order),
    st.tuples(st.just("adjust"), product, st.integers(-8, 8)),
    st.tuples(st.just("set"), product, st.integers(0, 10)),
    st.tuples(st.just("delete"), product),
)


class Shop:
    """A model of the service in plain arithmetic."""

    def __init__(self) -> None:
        self.stock = {0: 5, 1: 0, 2: 9}
        self.live = set(PRODUCTS)
        self.orders: dict[int, dict[int, int] | None] = {}

    def reserve(self, order_id: int, items: list[tuple[int, int]]) -> int:
        wanted: dict[int, int] = {}
        for number, quantity in items:
            wanted[number] = wanted.get(number, 0) + quantity
        if order_id in self.orders:
            return 200 if self.orders[order_id] == wanted else 409
        if wanted.keys() - self.live:
            return 422
        if any(self.stock[number] < quantity for number, quantity in wanted.items()):
            return 409
        for number, quantity in wanted.items():
            self.stock[number] -= quantity
        self.orders[order_id] = wanted
        return 201

    def release(self, order_id: int) -> int:
        for number, quantity in (self.orders.get(order_id) or {}).items():
            self.stock[number] += quantity
        self.orders[order_id] = None
        return 204

    def adjust(self, number: int, delta: int) -> int:
        if delta == 0:
            return 400
        if number not in self.live:
            return 404
        if self.stock[number] + delta < 0:
            return 409
        self.stock[number] += delta
        return 201

    def set(self, number: int, stock: int) -> int:
        if number not in self.live:
            return 404
        self.stock[number] = stock
        return 200

    def delete(self, number: int) -> int:
        if number not in self.live:
            return 404
        self.live.discard(number)
        return 204


class Service:
    """Performs the steps through the API. Each returns the status."""

    def __init__(self, api, ids: dict[int, str]) -> None:
        self.api, self.ids = api, ids

    def reserve(self, order_id: int, items: list[tuple[int, int]]) -> int:
        body = [{"productId": self.ids[number], "quantity": quantity} for number, quantity in items]
        return self.api.put(f"/api/stock-reservations/{order_id}", {"items": body}).status_code

    def release(self, order_id: int) -> int:
        return self.api.delete(f"/api/stock-reservations/{order_id}").status_code

    def adjust(self, number: int, delta: int) -> int:
        return self.api.post(f"/api/products/{self.ids[number]}/stock-adjustments", {"delta": delta}).status_code

    def set(self, number: int, stock: int) -> int:
        return self.api.patch(f"/api/products/{self.ids[number]}", {"stock": stock}).status_code

    def delete(self, number: int) -> int:
        return self.api.delete(f"/api/products/{self.ids[number]}").status_code


def stocked(add) -> dict[int, str]:
    return {number: add(stock=stock)["id"] for number, stock in Shop().stock.items()}


@pytest.mark.django_db
@given(steps=st.lists(step, max_size=25))
def test_any_sequence_of_steps_comes_to_what_arithmetic_says(api, add, books_balance, steps):
    StockReservation.objects.all().delete()
    StockMovement.objects.all().delete()
    Product.objects.all().delete()
    ids = stocked(add)
    shop, service = Shop(), Service(api, ids)
    for name, *arguments in steps:
        assert getattr(service, name)(*arguments) == getattr(shop, name)(*arguments), (name, arguments)
    stocks = dict(Product.objects.values_list("pk", "stock"))
    assert {number: stocks[int(pk)] for number, pk in ids.items()} == shop.stock
    assert books_balance()


SET = re.compile(r"UPDATE \"?product_svc_product\b.*?[\s,]\"?stock\"? = (.*?),", re.DOTALL)
BY_A_DIFFERENCE = re.compile(r"\(?((p|\"product_svc_product\")\.)?\"?stock\"? [+-] ")


@pytest.mark.django_db
def test_stock_is_changed_by_a_difference_whoever_changes_it(api, lamp, reserve, load):
    """A value computed from an earlier read would undo concurrent changes."""
    changes = {
        "set": lambda: api.patch(f"/api/products/{lamp['id']}", {"stock": 9}),
        "replace": lambda: api.put(
            f"/api/products/{lamp['id']}", {"name": "Lamp", "price": 1, "stock": 7, "sku": "L-1"}
        ),
        "adjust": lambda: api.post(f"/api/products/{lamp['id']}/stock-adjustments", {"delta": 2}),
        "reserve": lambda: reserve(7, {lamp["id"]: 1}),
        "release": lambda: api.delete("/api/stock-reservations/7"),
        "import": lambda: load("sku,name,price,stock\nL-1,Lamp,12.5,3\n"),
    }
    for name, change in changes.items():
        before = Product.objects.get().stock
        with CaptureQueriesContext(connection) as captured:
            change()
        assert Product.objects.get().stock != before, name
        written = [value for query in captured for value in SET.findall(query["sql"])]
        assert written, name
        assert all(BY_A_DIFFERENCE.match(value) for value in written), (name, written)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("seed", range(3))
def test_concurrent_changes_keep_stock_equal_to_its_movements(api, add, books_balance, seed):
    service = Service(api, stocked(add))

    def hand(number: int) -> list[int]:
        dice = random.Random(seed * 100 + number)
        statuses = []
        for _ in range(12):
            if (name := dice.choice(("reserve", "reserve", "release", "adjust", "set"))) == "reserve":
                items = [(dice.choice(PRODUCTS), dice.randint(1, 4)) for _ in range(dice.randint(1, 3))]
                arguments = [dice.randrange(12), items]
            elif name == "release":
                arguments = [dice.randrange(12)]
            else:
                arguments = [
                    dice.choice(PRODUCTS),
                    dice.choice((-3, -1, 2, 4)) if name == "adjust" else dice.randint(0, 9),
                ]
            statuses.append(getattr(service, name)(*arguments))
        return statuses

    answers = at_once(lambda n=n: hand(n) for n in range(6))
    assert {status for statuses in answers for status in statuses} <= {200, 201, 204, 409}
    assert books_balance()
    taken = {product.pk: 0 for product in Product.objects.all()}
    for movement in StockMovement.objects.filter(kind__in=("reservation", "release")):
        taken[movement.product_id] -= movement.delta
    for reservation in StockReservation.objects.filter(status="reserved"):
        for line in reservation.lines.all():
            taken[line.product_id] -= line.quantity
    assert set(taken.values()) == {0}
