"""The stock of a hot product is in several rows, so that its orders do not wait for each other.

A part of the design in docs/scaling.md, which the platform does not have.
"""

import os
import threading
from collections.abc import Iterator

import psycopg
import pytest

from platform_core.conf.environment import ROOT
from tests.suites import SERVER_VARIABLE

TAKE_ONE = """
    UPDATE bucket AS b SET stock = b.stock - %(n)s
    FROM (
        SELECT product, number FROM bucket WHERE product = %(product)s AND stock >= %(n)s
        ORDER BY (number + %(order)s) %% 8 LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
    ) AS free
    WHERE b.product = free.product AND b.number = free.number
"""
LOCK_ALL = "SELECT number, stock FROM bucket WHERE product = %s ORDER BY number FOR NO KEY UPDATE"
TAKE_PART = "UPDATE bucket SET stock = stock - %s WHERE product = %s AND number = %s"


def take(connection: psycopg.Connection, product: int, n: int, order: int) -> bool:
    """Take stock in one transaction: from one free bucket that has enough, else from all of them together."""
    with connection.transaction():
        # The statement may have locked a bucket that had too little by then. Rolled back, it holds none: otherwise two
        # orders that then lock all buckets could wait for each other.
        with connection.transaction() as attempt:
            if connection.execute(TAKE_ONE, {"product": product, "n": n, "order": order}).rowcount:
                return True
            raise psycopg.Rollback(attempt)
        buckets = connection.execute(LOCK_ALL, [product]).fetchall()
        if sum(stock for _, stock in buckets) < n:
            return False
        for number, stock in buckets:
            part = min(stock, n)
            if part:
                connection.execute(TAKE_PART, [part, product, number])
                n -= part
        return True


class Buckets:
    """A table of buckets with one product, in a schema of its own."""

    def __init__(self, stocks: list[int]) -> None:
        self.stocks = stocks
        with self.connect() as connection:
            connection.execute("CREATE SCHEMA buckets")
            connection.execute(
                "CREATE TABLE buckets.bucket (product int, number int, stock int CHECK (stock >= 0), "
                "PRIMARY KEY (product, number))"
            )
            for number, stock in enumerate(stocks):
                connection.execute("INSERT INTO buckets.bucket VALUES (1, %s, %s)", [number, stock])

    def connect(self) -> psycopg.Connection:
        options = "-c search_path=buckets -c lock_timeout=20s -c statement_timeout=60s"
        return psycopg.connect(os.environ[SERVER_VARIABLE], options=options, autocommit=True)

    def left(self) -> int:
        with self.connect() as connection:
            return connection.execute("SELECT sum(stock) FROM bucket").fetchone()[0]


@pytest.fixture
def buckets(request: pytest.FixtureRequest) -> Iterator[Buckets]:
    made = Buckets(request.param)
    yield made
    with made.connect() as connection:
        connection.execute("DROP SCHEMA buckets CASCADE")


@pytest.mark.parametrize("buckets", [[5] * 8], indirect=True)
def test_an_order_does_not_wait_for_another_one_of_the_same_product(buckets):
    """As while a commit waits for a standby. With one row, the second would wait for the first to end."""
    with buckets.connect() as first, buckets.connect() as second, first.transaction():
        first.execute(TAKE_ONE, {"product": 1, "n": 1, "order": 0})
        second.execute("SET lock_timeout = '50ms'")
        assert take(second, 1, 1, order=0)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            second.execute("UPDATE bucket SET stock = stock - 1 WHERE product = 1 AND number = 0")


@pytest.mark.parametrize("buckets", [[3, 0, 9, 1, 0, 2, 0, 6], [1] * 8, [50] + [0] * 7], indirect=True)
@pytest.mark.parametrize("n", [1, 3])
def test_all_of_the_stock_is_sold_and_no_more_by_threads_that_order_at_once(buckets, n):
    whole = sum(buckets.stocks)
    sold: list[bool] = []

    def customer(number: int) -> None:
        with buckets.connect() as connection:
            for order in range(8):
                sold.append(take(connection, 1, n, order=number * 8 + order))

    threads = [threading.Thread(target=customer, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sold) == 64
    expected = min(64, whole // n)
    assert sum(sold) == expected, "an order is refused only if all buckets together have too little"
    assert buckets.left() == whole - n * expected


def test_the_page_has_the_same_statements():
    page = " ".join((ROOT / "docs" / "scaling.md").read_text().split())
    for statement in (TAKE_ONE, LOCK_ALL, TAKE_PART):
        assert " ".join(statement.replace("%%", "%").split()) in page
