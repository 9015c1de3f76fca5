"""Every filter and every order finds its rows by an index when there are many."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from product_svc.models import Product, StockMovement, StockReservation
from tests.wire import rows_read

pytestmark = pytest.mark.django_db
A_FEW = 4000  # of 20,000; a filter that leaves one in fifty may well be applied to an ordered index


@pytest.fixture
def warehouse() -> list[int]:
    """20,000 products, some of them with movements and reservations."""
    product, movement, reservation = (m._meta.db_table for m in (Product, StockMovement, StockReservation))
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '60s'")
        cursor.execute(
            f"""
            INSERT INTO {product}
                (name, description, category, sku, price, stock, created_at, updated_at, version, deleted_at)
            SELECT 'Product ' || md5(n::text), 'Word' || n % 997 || (ARRAY[' even', ' odd'])[1 + n % 2],
                   'category' || n % 200, 'sku' || n,
                   (n * 7919 % 100000) / 100.0, CASE WHEN n % 53 = 0 THEN 0 ELSE n % 300 + 1 END, now(), now(), 1,
                   CASE WHEN n % 10 = 0 THEN now() END
            FROM generate_series(1, 20000) AS n RETURNING id
            """
        )
        ids = [row[0] for row in cursor.fetchall()]
        cursor.execute(
            f"""
            INSERT INTO {movement} (product_id, delta, kind, reason, stock, order_id, created_at)
            SELECT %s + n %% 1000, 1, CASE WHEN n <= 50 THEN 'release' ELSE 'adjustment' END, '', 1,
                   CASE WHEN n %% 2 = 0 THEN n END, now() - (20000 - n) * interval '1 minute'
            FROM generate_series(1, 20000) AS n
            """,
            [ids[0]],
        )
        cursor.execute(f"UPDATE {product} SET low_stock_threshold = 500 WHERE id % 100 = 0")
        cursor.execute(
            f"INSERT INTO {reservation} (order_id, status, created_at) SELECT n, 'reserved', now() "
            "FROM generate_series(1, 20000) AS n"
        )
        cursor.execute(
            "INSERT INTO product_svc_reservationline (reservation_id, product_id, name, unit_price, quantity) "
            "SELECT n, %s, 'x', 1, 1 FROM generate_series(1, 20000) AS n",
            [ids[0]],
        )
        cursor.execute("SELECT gin_clean_pending_list('product_text')")  # as autovacuum does
        cursor.execute("ANALYZE")
    return ids


FILTERS = [
    *("", "category=category7", "category=nowhere", "minPrice=999", "maxPrice=0.5", "minPrice=500&maxPrice=501"),
    *("inStock=true", "inStock=false", "search=word123", "search=products word5", "search=nothinglikethis"),
    *("category=category7&inStock=true", "search=word123&category=category7&minPrice=10", "limit=200"),
]
ORDERINGS = ["", "-createdAt", "createdAt", "price", "-price", "name", "-name", "stock", "-stock"]


def test_no_list_reads_all_products(api, warehouse, subtests):
    for ordering in ORDERINGS:
        for query in FILTERS:
            path = f"/api/products?{f'ordering={ordering}&' if ordering else ''}{query}"
            with subtests.test(path):
                with CaptureQueriesContext(connection) as captured:
                    page = api.get(path).json()
                    if page["next"]:
                        further = api.get(page["next"]).json()
                        assert api.get(further["previous"]).json()["results"] == page["results"]
                for statement in captured:
                    assert rows_read(statement["sql"]) <= A_FEW, statement["sql"][-300:]


def test_frequent_words_that_are_never_together_are_not_sought_in_all_products(api, warehouse, monkeypatch):
    monkeypatch.setattr("product_svc.search.WALKED", 1000)
    with CaptureQueriesContext(connection) as captured:
        assert api.get("/api/products?search=odd even").json()["results"] == []
    assert rows_read(captured[-1]["sql"]) <= A_FEW


LISTS = [
    *("product/?stock=low", "product/?stock=out", "product/?category=category7", "product/?category=nowhere"),
    *("product/?o=1", "product/?o=-4", "product/?o=5", "product/?q=word123&stock=low"),
    *("stockmovement/", "stockmovement/?product={pk}", "stockmovement/?product=0"),
    *(
        "stockmovement/?kind__exact=release",
        "stockmovement/?kind__exact=initial",
        "stockmovement/?q=777",
        "stockmovement/?q=776",
    ),
    "stockmovement/?created_at__gte={day}&created_at__lt={later}",
    *("product/{pk}/change/", "product/{pk}/adjust/"),
]


def test_no_page_of_the_stock_room_reads_whole_tables(admin_client, warehouse, subtests):
    day, later = (f"{now() - timedelta(hours=hours):%Y-%m-%d %H:%M}%2B00:00" for hours in (100, 99))
    for path in LISTS:
        with subtests.test(path):
            with CaptureQueriesContext(connection) as captured:
                page = "/admin/product_svc/" + path.format(pk=warehouse[4], day=day, later=later)
                assert admin_client.get(page).status_code == 200
            selects = [q["sql"] for q in captured if "product_svc_" in q["sql"] and "count" not in q["sql"].lower()]
            assert selects
            for statement in selects:
                assert rows_read(statement) <= A_FEW, statement[-300:]


def test_nothing_else_reads_whole_tables(api, warehouse, subtests):
    pk = warehouse[4]
    calls = [
        ("get", f"/api/products/{pk}", None),
        ("get", f"/api/products/{pk}/stock-adjustments", None),
        ("get", "/api/stock-reservations/77", None),
        ("patch", f"/api/products/{pk}", {"price": 1, "stock": 500}),
        ("post", f"/api/products/{pk}/stock-adjustments", {"delta": 1}),
        ("post", "/api/products/bulk", {"items": [{"name": "x", "price": 1, "sku": f"sku{n}"} for n in range(500)]}),
        ("put", "/api/stock-reservations/30000", {"items": [{"productId": pk, "quantity": 1}]}),
        ("put", "/api/stock-reservations/30000", {"items": [{"productId": pk, "quantity": 1}]}),
        ("put", "/api/stock-reservations/30001", {"items": [{"productId": pk, "quantity": 10000}]}),
        ("delete", "/api/stock-reservations/30000", None),
        ("delete", f"/api/products/{pk}", None),
    ]
    for method, path, body in calls:
        with subtests.test(f"{method} {path}"):
            with CaptureQueriesContext(connection) as captured:
                assert getattr(api, method)(path, *([body] if body else [])).status_code < 500
            statements = [
                q["sql"] for q in captured if q["sql"].lstrip().startswith(("SELECT", "UPDATE", "DELETE", "WITH"))
            ]
            assert statements
            assert max(rows_read(statement) for statement in statements) <= A_FEW
