"""GET /api/analytics/products."""

from decimal import Decimal

import pytest

pytestmark = pytest.mark.django_db


def test_the_catalog_and_its_stock(shop, report):
    shop.product(1, stock=3, price=Decimal("0.1"))
    shop.product(2, stock=0)
    shop.product(3, stock=1_000_000, price=Decimal("9999999999.99"))
    found = report("products")
    assert set(found) == {
        *("asOf", "stale", "currency", "timeZone"),
        *("total", "outOfStock", "lowStock", "stockUnits", "stockValue", "topSellers"),
    }
    assert (found["total"], found["outOfStock"], found["stockUnits"]) == (3, 1, 1_000_003)
    assert found["stockValue"] == Decimal("9999999999990000.30")


def test_the_lowest_stock_comes_first(shop, report):
    for product_id, stock in ((1, 11), (2, 10), (3, 0), (4, 5)):
        shop.product(product_id, stock=stock)
    assert report("products")["lowStock"] == [
        {"productId": "3", "name": "P3", "stock": 0},
        {"productId": "4", "name": "P4", "stock": 5},
        {"productId": "2", "name": "P2", "stock": 10},
    ]


def test_the_low_stock_limit_is_a_setting(shop, report, settings):
    settings.LOW_STOCK = 2
    shop.product(1, stock=3)
    shop.product(2, stock=2)
    assert [entry["productId"] for entry in report("products")["lowStock"]] == ["2"]


def test_a_product_may_have_a_limit_of_its_own(shop, report):
    for product_id, stock, limit in ((1, 40, 50), (2, 51, 50), (3, 5, 4), (4, 0, 0), (5, 10, None), (6, 11, None)):
        shop.product(product_id, stock=stock, lowStockThreshold=limit)
    assert [entry["productId"] for entry in report("products")["lowStock"]] == ["4", "5", "1"]


def test_a_limit_of_its_own_outlives_events_of_versions_that_do_not_know_it(shop, report):
    shop.product(1, stock=60, lowStockThreshold=50)
    shop.product(1, "stock.changed", version=2, stock=45)
    assert [entry["productId"] for entry in report("products")["lowStock"]] == ["1"]
    shop.product(1, "product.updated", version=3, stock=45, lowStockThreshold=None)
    assert report("products")["lowStock"] == []


def test_figures_follow_the_stock(shop, report):
    shop.product(1, stock=2, price=Decimal("1.50"))
    assert report("products")["stockValue"] == 3
    shop.product(1, "stock.changed", version=2, stock=0, price=Decimal("1.50"), delta=-2, reason="reservation")
    found = report("products")
    assert (found["outOfStock"], found["stockUnits"], found["stockValue"]) == (1, 0, 0)
    shop.product(1, "product.updated", version=3, stock=50, price=Decimal("2"), name="New")
    found = report("products")
    assert (found["total"], found["outOfStock"], found["stockUnits"], found["stockValue"]) == (1, 0, 50, 100)
    assert found["lowStock"] == []


def test_a_deleted_product_is_in_no_figure_but_what_was_sold(shop, report):
    shop.product(11, stock=3)
    shop.order(1)
    shop.product(11, "product.deleted", version=2, stock=3)
    found = report("products")
    assert (found["total"], found["outOfStock"], found["stockUnits"], found["stockValue"]) == (0, 0, 0, 0)
    assert found["lowStock"] == []
    assert [(entry["productId"], entry["units"]) for entry in found["topSellers"]] == [("11", 2)]


@pytest.mark.parametrize("deletion_first", [True, False])
def test_a_deleted_product_stays_deleted_when_its_stock_comes_back(shop, report, deletion_first):
    """Cancelling an order of a deleted product returns stock. The two events may come in any order."""
    shop.product(1, stock=3)
    report("products")
    events = [("product.deleted", 2, 3), ("stock.changed", 3, 5)]
    for what, version, stock in events if deletion_first else events[::-1]:
        shop.product(1, what, version=version, stock=stock)
    found = report("products")
    assert (found["total"], found["stockUnits"], found["lowStock"]) == (0, 0, [])


def test_the_best_seller_comes_first(shop, report):
    for product_id in (11, 22, 33):
        shop.product(product_id)
    shop.order(1, items=((11, 1, Decimal("100")), (22, 5, Decimal("1"))))
    shop.order(2, items=((22, 5, Decimal("2")),))
    shop.order(3, items=((33, 90, Decimal("1")),))
    shop.order(3, "cancelled", version=3, items=((33, 90, Decimal("1")),))
    assert report("products")["topSellers"] == [
        {"productId": "22", "name": "P22", "units": 10, "revenue": 15},
        {"productId": "11", "name": "P11", "units": 1, "revenue": 100},
    ]


def test_lists_are_bounded(shop, report):
    for product_id in range(1, 31):
        shop.product(product_id, stock=1)
        shop.order(product_id, items=((product_id, product_id, Decimal("1")),))
    found = report("products")
    assert [entry["productId"] for entry in found["lowStock"]] == [str(n) for n in range(1, 11)]
    assert [entry["productId"] for entry in found["topSellers"]] == [str(n) for n in range(30, 20, -1)]


def test_sales_count_before_their_product_is_known(shop, report):
    """The feeds are read in parallel, so the feed of orders may be ahead."""
    shop.products.step = lambda query: (503, {}, "{}")
    shop.order(1)
    found = report("products")
    assert (found["stale"], found["total"]) == (["product-service"], 0)
    assert [(entry["productId"], entry["units"]) for entry in found["topSellers"]] == [("11", 2)]
    assert found["lowStock"] == []
    shop.products.step = shop.products.serve
    shop.product(11, name="Lamp", stock=7)
    found = report("products")
    assert found["topSellers"] == [{"productId": "11", "name": "Lamp", "units": 2, "revenue": Decimal("39.98")}]
    assert found["lowStock"] == [{"productId": "11", "name": "Lamp", "stock": 7}]
