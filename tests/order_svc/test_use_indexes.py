"""Every filter uses an index on large tables."""

import threading

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from order_svc import tasks
from order_svc.models import Order, OrderLine
from platform_core.outbox.models import OutboxMessage
from platform_core.outbox.queue import claim
from platform_core.topology import PRODUCT
from tests.wire import rows_read

pytestmark = pytest.mark.django_db
A_FEW = 1000  # of 20,000


@pytest.fixture
def crowd():
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO {Order._meta.db_table}
                (user_id, status, total, currency, reason, confirmed_at, caller, request_id, traceparent,
                 created_at, updated_at, version)
            SELECT n % 500, CASE n % 50 WHEN 0 THEN 'cancelled' ELSE 'confirmed' END, n, 'USD', '',
                   now(), '', '', '', now() - n * interval '1 minute', now(), 2
            FROM generate_series(1, 20000) AS n
            """
        )
        cursor.execute(
            f"""
            INSERT INTO {OrderLine._meta.db_table} (order_id, product_id, quantity, name, unit_price, subtotal)
            SELECT id, id % 100, 1, 'P', 1, 1 FROM {Order._meta.db_table}
            """
        )
        cursor.execute(
            f"""
            INSERT INTO {OutboxMessage._meta.db_table}
                (kind, destination, aggregate, key, payload, state, attempts, available_at, last_error, request_id,
                 traceparent, created_at)
            SELECT 'stock.release', 'product-service', 'order:' || n, 'k' || n, '{{}}',
                   CASE WHEN n > 19900 THEN 'pending' ELSE 'delivered' END, 0, now(), '', '', '', now()
            FROM generate_series(1, 20000) AS n
            """
        )
        cursor.execute("ANALYZE")


def most_rows_read(captured):
    """Covers all statements that search rows."""
    verbs = ("SELECT", "UPDATE", "WITH")
    statements = [query["sql"] for query in captured if query["sql"].lstrip(" \n(").startswith(verbs)]
    return max(rows_read(statement) for statement in statements)


def test_no_request_reads_all_orders(api, crowd, subtests):
    pk = Order.objects.values_list("pk", flat=True)[10000]
    following = api.get("/api/orders").json()["next"]
    for path in (
        "/api/orders",
        following,
        api.get(following).json()["previous"],
        f"/api/orders/{pk}",
        "/api/orders?userId=77",
        "/api/orders?status=cancelled",
        "/api/orders?userId=77&status=confirmed",
        "/api/orders?status=confirmed&status=cancelled",
        "/api/orders?status=pending&status=rejected&status=cancelled",
        "/api/orders?userId=77&status=confirmed&status=cancelled",
        "/api/orders?createdAfter=2999-01-01T00:00:00Z",
        "/api/orders?createdBefore=2000-01-01T00:00:00Z",
        "/api/orders/user/77",
        "/api/orders?limit=200",
    ):
        with subtests.test(path):
            with CaptureQueriesContext(connection) as captured:
                assert api.get(path).status_code == 200
            assert most_rows_read(captured) <= A_FEW


def test_no_move_reads_all_orders(api, crowd):
    pk = Order.objects.filter(status="confirmed").values_list("pk", flat=True)[10000]
    with CaptureQueriesContext(connection) as captured:
        assert api.post(f"/api/orders/{pk}/cancel").status_code == 200
    assert most_rows_read(captured) <= A_FEW


def test_no_background_duty_reads_all_rows(crowd, monkeypatch):
    stopping = threading.Event()
    stopping.set()
    with CaptureQueriesContext(connection) as captured:
        tasks.recover(stopping)
        claim(PRODUCT.name)
    assert most_rows_read(captured) <= A_FEW
