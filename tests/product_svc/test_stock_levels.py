"""A change of the stock writes no index. Lists by stock are exact, although the index has only levels."""

import random

import pytest
from django.db import connection

from product_svc.models import Product
from product_svc.stock_levels import BOUNDS, MAX_STOCK, SOLD_OUT, level_of


@pytest.mark.django_db
def test_no_index_names_the_stock_not_even_in_its_condition():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_depend d ON d.objid = i.indexrelid "
            "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = d.refobjsubid AND d.refobjid = i.indrelid "
            "WHERE i.indrelid = 'product_svc_product'::regclass AND a.attname IN ('stock', 'version', 'updated_at')"
        )
        assert cursor.fetchall() == []
        cursor.execute("SELECT reloptions FROM pg_class WHERE oid = 'product_svc_product'::regclass")
        assert cursor.fetchone() == (["fillfactor=85"],)


@pytest.mark.django_db(transaction=True)
def test_reservations_and_releases_update_the_product_in_place(api, add, reserve):
    bound = BOUNDS[80]
    product = add(stock=bound + 60)["id"]
    before = updates()
    for order in range(1, 51):
        assert reserve(order, {product: 1}).status_code == 201
    for order in range(1, 26):
        assert api.delete(f"/api/stock-reservations/{order}").status_code == 204
    total, in_place = (now - then for now, then in zip(updates(), before, strict=True))
    assert (total, in_place) == (75, 75)


def updates() -> tuple[int, int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = %s::regclass", [TABLE])
        row: tuple[int, int] = cursor.fetchone()
    return row


TABLE = "product_svc_product"


@pytest.mark.django_db
def test_levels_follow_the_stock(add):
    edges = sorted({0, MAX_STOCK, *(edge + step for edge in BOUNDS for step in (-1, 0, 1) if edge + step <= MAX_STOCK)})
    Product.objects.bulk_create(Product(name="x", price=1, stock=stock) for stock in edges)
    found = list(Product.objects.order_by("stock").values_list("stock", "stock_level"))
    assert found == [(stock, level_of(stock)) for stock in edges]
    levels = [level for _, level in found]
    assert levels == sorted(levels)
    assert [stock for stock, level in found if level == SOLD_OUT] == [0]


@pytest.mark.django_db
@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("query", ["", "&inStock=true", "&category=c"])
def test_lists_by_stock_are_exact_on_every_page(api, sign, query):
    dice = random.Random(4)
    Product.objects.bulk_create(
        Product(name=f"p{n}", price=1, stock=dice.choice((0, 3, 100, 101, 105, 110, n, 5000 + n)), category="cd"[n % 2])
        for n in range(150)
    )
    rows = Product.objects.all()
    rows = rows.filter(stock__gt=0) if "inStock" in query else rows
    rows = rows.filter(category="c") if "category" in query else rows
    expected = [str(pk) for pk in rows.order_by(f"{sign}stock", f"{sign}id").values_list("pk", flat=True)]
    page = api.get(f"/api/products?ordering={sign}stock&limit=7{query}").json()
    found, last = [each["id"] for each in page["results"]], page
    while page["next"]:
        last, page = page, api.get(page["next"]).json()
        found += [each["id"] for each in page["results"]]
    assert found == expected
    assert api.get(page["previous"]).json()["results"] == last["results"]


@pytest.mark.django_db
def test_the_stock_room_is_sorted_by_the_stock_itself(admin_client):
    for stock in (104, 101, 0, 7, 103):
        Product.objects.create(name=f"product {stock}", price=1, stock=stock)
    page = admin_client.get("/admin/product_svc/product/?o=5").content.decode()
    places = [page.index(f"product {stock}<") for stock in (0, 7, 101, 103, 104)]
    assert places == sorted(places)
