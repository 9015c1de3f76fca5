"""Backup and restore as in `docs/operations.md`, on a platform that takes orders."""

import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from platform_core.stack import pg_tools, postgres
from platform_core.topology import ANALYTICS, ORDER, PRODUCT, USER
from tests.e2e.stack import Shop, Stack, eventually, slow, temporary_stack


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


def grow_older(stack: Stack) -> None:
    """Consumes transaction ids, so that a new server's ids are lower."""
    with psycopg.connect(stack.database_url(), autocommit=True) as connection:
        for _ in range(20_000):
            connection.execute("SELECT pg_current_xact_id()")


def done(stack: Stack, *arguments: str, **variables: str) -> str:
    """What a command printed, that must succeed."""
    ran = stack.run(*arguments, **variables)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def refused(stack: Stack, *arguments: str, **variables: str) -> str:
    """The one line by which a command refuses."""
    ran = stack.run(*arguments, **variables)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    (line,) = ran.stderr.strip().splitlines()
    return line


def names(stack: Stack) -> list[str]:
    """Of all users, read from the database of a platform that does not run."""
    return done(stack, "dbshell", "-Atc", "SELECT name FROM user_svc.user_svc_user ORDER BY id").split()


def databases(stack: Stack) -> list[str]:
    return done(stack, "dbshell", "-Atc", "SELECT datname FROM pg_database WHERE datname LIKE 'platform%'").split()


@pytest.fixture(scope="module")
def with_ann(template: Path) -> Iterator[Path]:
    """A data folder with one user."""
    with temporary_stack(template) as stack:
        done(stack.prepare(), "user_svc", "make_staff", "ann@example.com", "--name", "Ann")
        eventually("Postgres has stopped", lambda: not stack.processes())
        yield stack.folder / "data"


@pytest.fixture
def ann(with_ann: Path) -> Iterator[Stack]:
    """A platform that stands still and has one user."""
    with temporary_stack(with_ann) as stack:
        yield stack.prepare()


def feed(stack: Stack) -> list[dict[str, Any]]:
    """All events of order-service."""
    shop, events, last = Shop(stack), [], "0-0-0"
    while page := shop.get(ORDER, f"/api/events?limit=1000&lastEventId={last}"):
        events += page
        last = page[-1]["id"]
    return events


def place(event: dict[str, Any]) -> tuple[int, ...]:
    return tuple(int(part) for part in event["id"].split("-"))


@pytest.mark.nightly
def test_a_backup_of_a_platform_at_work_keeps_the_promises_on_a_new_server(own_stack, successor, customer, tmp_path):
    customer.has_ordered(5)
    grow_older(own_stack)
    customer.has_ordered(5)
    Shop(own_stack).get(ANALYTICS, "/api/analytics/summary")  # it has a place in the feeds, of the old server
    file = tmp_path / "platform.backup"
    done(own_stack, "backup", str(file))
    before = set(customer.ordered)
    customer.has_ordered(5)  # of these the dump may know or not
    customer.stop()
    own_stack.stop()

    assert "new epoch" in done(successor, "restore", str(file))
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
    assert int(made[0]) > max(int(order) for order in customer.ordered), "also of those that the dump does not know"
    report = shop.get(ANALYTICS, "/api/analytics/summary")
    assert report["stale"] == []
    assert report["orders"]["total"] == counted + len(made), "each of the new ones once, none of the old again"
    events = feed(successor)
    assert events[: len(old)] == old, "what was read stays where it was"
    assert [event["subject"] for event in events[len(old) :]] == made
    assert [place(event) for event in events] == sorted(place(event) for event in events)
    assert {place(event)[0] for event in events[len(old) :]} == {2}
    newest_of_dump = max(place(event) for event in old if place(event)[0] == 1)
    assert place(events[-1])[1] < newest_of_dump[1], "the new server counts from the start, or this proves nothing"
    assert successor.run("verify").returncode == 0


@pytest.mark.nightly
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


@pytest.mark.nightly
def test_no_epoch_is_raised_before_there_is_anything(successor):
    nothing = successor.run("new_epoch")
    assert nothing.returncode == 1
    assert "has no feed yet" in nothing.stderr


def test_the_epoch_of_one_service_is_raised_while_orders_go_on(own_stack, customer):
    customer.has_ordered(3)
    assert "analytics-service has no feed" in own_stack.run("new_epoch", "analytics").stderr
    printed = done(own_stack, "new_epoch", "order")
    assert "The feed of order-service continues in epoch 2." in printed
    assert "product-service" not in printed
    customer.has_ordered(3)
    customer.stop()
    events = feed(own_stack)
    assert [place(event) for event in events] == sorted(place(event) for event in events)
    assert [event["subject"] for event in events if event["type"] == "order.confirmed"] == customer.ordered
    assert {place(event)[0] for event in events} == {1, 2}
    assert int(customer.ordered[-1]) > 1_000_000 > int(customer.ordered[0]), "new ids were never given out"
    report = Shop(own_stack).get(ANALYTICS, "/api/analytics/summary")
    assert (report["stale"], report["orders"]["total"]) == ([], len(customer.ordered))
    verified = own_stack.run("verify")
    assert verified.returncode == 0, verified.stdout


@pytest.mark.nightly
def test_a_platform_that_was_used_is_replaced_by_force_alone_and_never_while_it_runs(ann, successor, tmp_path):
    file = tmp_path / "platform.backup"
    done(ann, "backup", str(file))
    assert list(tmp_path.iterdir()) == [file]
    done(ann, "user_svc", "make_staff", "bob@example.com", "--name", "Bob")
    assert "--force" in refused(ann, "restore", str(file))
    assert names(ann) == ["Ann", "Bob"]
    ann.up()
    assert "stop the platform first" in refused(ann, "restore", str(file), "--force")
    ann.stop()
    done(ann, "restore", str(file), "--force")
    assert names(ann) == ["Ann"]
    assert databases(ann) == ["platform"]
    done(successor, "migrate")
    done(successor, "restore", str(file))  # what is migrated and was never used is no loss
    assert names(successor) == ["Ann"]
    Shop(ann.up()).made(USER, "/api/users", name="Eve", email="eve@example.com")


def test_what_is_no_backup_changes_nothing(ann, tmp_path):
    file = tmp_path / "x.backup"
    file.write_text("something else")
    assert "is not a backup" in refused(ann, "restore", str(file), "--force")
    done(ann, "backup", str(file))
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) * 2 // 3])
    assert "pg_restore" in refused(ann, "restore", str(file), "--force")
    assert names(ann) == ["Ann"]
    assert databases(ann) == ["platform"]


@pytest.mark.parametrize("place, left", [("filled", 2), slow("renamed", 2), slow("replaced", 1)])
def test_a_restore_that_is_killed_leaves_one_platform_or_the_other(ann, tmp_path, place, left):
    file = tmp_path / "platform.backup"
    done(ann, "backup", str(file))
    done(ann, "user_svc", "make_staff", "bob@example.com", "--name", "Bob")
    (tmp_path / f"restore.{place}").touch()
    killed = ann.run("restore", str(file), "--force", PLATFORM_FAILPOINTS=str(tmp_path))
    assert killed.returncode == -signal.SIGKILL
    assert len(names(ann)) == left
    assert len(databases(ann)) == 2
    done(ann, "restore", str(file), "--force")
    assert names(ann) == ["Ann"]
    assert databases(ann) == ["platform"], "nothing is left of the one that was killed"


def test_a_backup_that_fails_leaves_the_one_before(ann, tmp_path):
    file = tmp_path / "platform.backup"
    file.write_text("the one before")
    with psycopg_lock(ann):
        assert "pg_dump: error" in refused(ann, "backup", str(file))
    assert file.read_text() == "the one before"
    assert list(tmp_path.iterdir()) == [file]


@contextmanager
def psycopg_lock(stack: Stack) -> Iterator[None]:
    """A table that cannot be dumped."""
    server = postgres.acquire(stack.folder / "data")
    try:
        with psycopg.connect(server.url) as connection:
            connection.execute("LOCK TABLE order_svc.django_migrations")
            yield
    finally:
        server.release()


def test_tools_on_the_path_must_fit_the_server_of_database_url(ann, tmp_path):
    server = postgres.acquire(ann.folder / "data")
    try:
        old = tmp_path / "pg_dump"
        old.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 15.3'\n")
        old.chmod(0o755)
        elsewhere = {"DATABASE_URL": server.url, "PATH": str(tmp_path)}
        message = refused(ann, "backup", str(tmp_path / "x"), **elsewhere)
        assert "has version 15, and the server of DATABASE_URL version 18" in message
        old.unlink()
        assert "pg_dump is not on the PATH" in refused(ann, "backup", str(tmp_path / "x"), **elsewhere)
        done(ann, "backup", str(tmp_path / "x"), **{**elsewhere, "PATH": str(pg_tools.embedded_folder())})
        several = {"ORDER_DATABASE_URL": "postgresql://order_svc@127.0.0.1:1/orders"}
        assert "ORDER_DATABASE_URL" in refused(ann, "backup", str(tmp_path / "y"), **several)
    finally:
        server.release()


def test_a_shell_of_the_platform_and_one_of_a_service_need_no_psql_on_the_path(ann):
    bare = {"PATH": "/nonexistent"}
    assert done(ann, "dbshell", "-Atc", "SELECT current_user", **bare) == "postgres\n"
    assert done(ann, "order_svc", "dbshell", "--", "-Atc", "SELECT current_user", **bare) == "order_svc\n"
    failed = ann.run("dbshell", "-c", "SELECT nonsense", **bare)
    assert failed.returncode == 1
    assert "nonsense" in failed.stderr


def test_two_migrations_of_an_empty_database_at_once_both_succeed(successor):
    """As in a rollout that starts two releases' migrations, or a migration beside `up`."""
    migrations = [
        subprocess.Popen(
            successor.command("migrate"),
            env=successor.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [migration.communicate(timeout=120)[0] for migration in migrations]
    assert [migration.returncode for migration in migrations] == [0, 0], outputs
    assert all("All five services are migrated." in output for output in outputs)
