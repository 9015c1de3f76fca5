"""What a report costs in queries, and that none reads whole tables."""

import pytest
from django.db import connection

from analytics_svc.models import DailyFigure, Fact, ProductFigure
from tests.wire import rows_read, statements_of

pytestmark = pytest.mark.django_db
A_FEW = 1000  # of 20,000
NAMES = ("users", "products", "orders", "notifications", "summary")


def happen(shop, first, last):
    for number in range(first, last):
        shop.user(number)
        shop.product(number)
        shop.order(number)
        shop.notification(number)


@pytest.mark.parametrize(
    "name, queries", [("users", 4), ("products", 4), ("orders", 3), ("notifications", 3), ("summary", 3)]
)
def test_a_report_with_nothing_new_is_a_few_queries(shop, report, name, queries):
    """One query for the positions and one for the figures."""
    happen(shop, 1, 5)
    report("summary")
    assert len(statements_of(lambda: report(name, "?days=366" if name != "summary" else ""))) == queries


def test_taking_events_in_costs_the_same_for_ten_as_for_a_thousand(shop, report):
    report("summary")
    happen(shop, 1, 11)
    few = len(statements_of(lambda: report("summary")))
    happen(shop, 11, 1000)
    many = len(statements_of(lambda: report("summary", X_Request_Timeout="30")))
    assert few == many
    assert few <= 40


@pytest.fixture
def crowd():
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO {Fact._meta.db_table} (generation, kind, resource_id, version, state)
            SELECT 1, kind, n, 1, '{{}}'
            FROM generate_series(100, 20000) AS n, unnest(ARRAY['user', 'product', 'order', 'notification']) AS kind
            """
        )
        cursor.execute(
            f"""
            INSERT INTO {ProductFigure._meta.db_table} (generation, product_id, name, stock, listed, units, revenue)
            SELECT 1, n, 'P', 1000 + n, true, CASE n % 1000 WHEN 0 THEN n ELSE 0 END, 5
            FROM generate_series(100, 20000) AS n
            """
        )
        cursor.execute(
            f"""
            INSERT INTO {DailyFigure._meta.db_table} (generation, name, date, value)
            SELECT 1, name, current_date - n, 1
            FROM generate_series(0, 4000) AS n, unnest(ARRAY['users.new', 'orders.placed', 'orders.revenue']) AS name
            """
        )
        cursor.execute("ANALYZE")


@pytest.mark.parametrize("name", NAMES)
def test_no_report_reads_all_rows(shop, report, crowd, name):
    happen(shop, 1, 20)
    statements = statements_of(lambda: report(name))
    found = [statement for statement in statements if statement.lstrip().startswith(("SELECT", "UPDATE"))]
    assert max(rows_read(statement) for statement in found) <= A_FEW
