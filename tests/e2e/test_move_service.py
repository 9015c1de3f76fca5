"""`manage.py move_service`: a service's schema moves to another Postgres server while customers order."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from platform_core.stack import ensure_database, postgres
from platform_core.topology import ANALYTICS, ORDER, PRODUCT, USER, Service
from tests.chaos.load import Promised, check_promises, customers
from tests.e2e.stack import Shop, Stack, eventually, own_folder, slow, temporary_stack

CLIENTS = 4


@pytest.fixture
def target() -> Iterator[str]:
    """The administrator's URL of another server, which is empty."""
    with own_folder() as folder:
        server = postgres.acquire(folder)
        try:
            yield server.url
        finally:
            server.release()
            postgres.await_stopped(folder)


class Journal(Promised):
    """Also notes when orders were confirmed."""

    def __init__(self) -> None:
        super().__init__()
        self.confirmed_at: list[float] = []

    def count(self, name: str) -> None:
        super().count(name)
        if name == "orders confirmed":
            self.confirmed_at.append(time.monotonic())

    def longest_pause(self) -> float:
        """Seconds without a confirmed order."""
        return max(after - before for before, after in pairwise(sorted(self.confirmed_at)))

    def goes_on(self, orders: int = 10) -> None:
        """Waits for more orders."""
        wanted = self.figures["orders confirmed"] + orders
        eventually(f"{wanted} orders", lambda: self.figures["orders confirmed"] >= wanted, 60)


class Consumer(threading.Thread):
    """Follows the feed of a service under a name of its own, and keeps what it reads."""

    def __init__(self, stack: Stack, service: Service, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.stack, self.service, self.stop_event = stack, service, stop
        self.events: list[dict[str, Any]] = []
        self.answers: set[int] = set()

    def run(self) -> None:
        shop = Shop(self.stack)
        while True:
            was_stopped = self.stop_event.is_set()
            try:
                last = self.events[-1]["id"] if self.events else "0-0-0"
                path = f"/api/events?limit=200&lastEventId={last}"
                answer = shop.ask("GET", self.service, path, headers={"Feed-Consumer": "watcher"})
            except requests.RequestException:
                continue
            self.answers.add(answer.status_code)
            page = answer.json() if answer.status_code == 200 else []
            self.events += page
            if was_stopped and answer.status_code == 200 and not page and "Feed-Pending" not in answer.headers:
                return
            time.sleep(0.05)


@contextmanager
def under_load(stack: Stack, *services: Service) -> Iterator[tuple[Journal, list[Consumer]]]:
    journal, over, consumed = Journal(), threading.Event(), threading.Event()
    clients = customers(stack, journal, 1, over)[:CLIENTS]
    consumers = [Consumer(stack, service, consumed) for service in services]
    for thread in (*clients, *consumers):
        thread.start()
    try:
        journal.goes_on()
        yield journal, consumers
        journal.goes_on()
    finally:
        over.set()
        for client in clients:
            client.join(120)
        consumed.set()
        for consumer in consumers:
            consumer.join(60)


def move(stack: Stack, service: Service, url: str, *options: str, **variables: str) -> str:
    """What the command printed, that must succeed."""
    done = stack.run("move_service", service.stem, "--to", url, *options, timeout=240, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ask(url: str, query: str) -> Any:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def url_file(stack: Stack, service: Service) -> Path:
    """An empty file: the service's database is that of the others."""
    file = stack.folder / f"{service.stem}.url"
    file.touch()
    return file


@pytest.mark.parametrize("services", [(ORDER,), pytest.param((ORDER, PRODUCT), marks=pytest.mark.nightly)])
def test_a_service_moves_while_customers_order(own_stack, target, services):
    own_stack.is_pooled = False
    files = {service: url_file(own_stack, service) for service in services}
    variables = {f"{service.database_url_variable}_FILE": str(file) for service, file in files.items()}
    variables["PENDING_SECONDS"] = "8"
    own_stack.up(**variables, LOG_LEVEL="warn")
    ask(
        own_stack.database_url(),
        "DO 'BEGIN FOR n IN 1..20000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END'",
    )
    pauses = {}
    with under_load(own_stack, *services) as (journal, consumers):
        for service in services:
            journal.goes_on()
            journal.confirmed_at.clear()
            then = " ".join(own_stack.command("restart", service.stem))
            options = ("--url-file", str(files[service]), "--then", then, "--lead", "8")
            print(move(own_stack, service, target, *options, **variables))
            journal.goes_on()
            pauses[service.name] = journal.longest_pause()
    print(dict(journal.figures))
    print("seconds without an order:", {name: round(pause, 1) for name, pause in pauses.items()})

    for service, consumer in zip(services, consumers, strict=True):
        source, schema = own_stack.database_url(), service.role
        assert not consumer.is_alive()
        ids = [event["id"] for event in consumer.events]
        places = [tuple(map(int, each.split("-"))) for each in ids]
        assert places == sorted(set(places)), "each event once, in the feed's order"
        assert len(ids) == ask(target, f"SELECT count(*) FROM {schema}.events_event"), "none was missed"
        assert {epoch for epoch, _, _ in places} == {1, 2}
        first_of_new = next(txid for epoch, txid, _ in places if epoch == 2)
        assert first_of_new < max(txid for epoch, txid, _ in places if epoch == 1), "or the epoch would prove nothing"
        assert consumer.answers <= {200, 503}
        fenced = f"SELECT rolcanlogin FROM pg_roles WHERE rolname = '{schema}'"
        assert (ask(source, fenced), ask(target, fenced)) == (False, True)
        rows = f"SELECT count(*) FROM {schema}.events_event"
        assert ask(source, rows) < ask(target, rows), "the new ones are at the target alone"
        assert ask(source, "SELECT count(*) FROM pg_replication_slots") == 0

    check_promises(own_stack, journal)
    verified = own_stack.run("verify", "--wait", "60", timeout=300, **variables)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    figures = Shop(own_stack).get(ANALYTICS, "/api/analytics/summary")
    assert figures["stale"] == []
    counted = "SELECT json_object_agg(status, n) FROM (SELECT status, count(*) AS n FROM {} GROUP BY 1) AS c"
    there = ask(target, counted.format("order_svc.order_svc_order"))
    assert {status: n for status, n in figures["orders"]["byStatus"].items() if n} == there


@pytest.fixture(scope="module")
def with_ann(template: Path) -> Iterator[Path]:
    """A data folder with one member of the staff."""
    with temporary_stack(template) as stack:
        hires(stack.prepare(), "ann")
        eventually("Postgres has stopped", lambda: not stack.processes())
        yield stack.folder / "data"


@pytest.fixture
def ann(with_ann: Path) -> Iterator[Stack]:
    """A platform that stands still, with one member of the staff."""
    with temporary_stack(with_ann, is_pooled=False) as stack:  # moves do not go through a pooler
        yield stack.prepare()


def hires(stack: Stack, name: str, **variables: str) -> None:
    """Writes to the database of user-service, with events."""
    done = stack.run("user_svc", "make_staff", f"{name}@example.com", "--name", name, **variables)
    assert done.returncode == 0, done.stderr


def stops(stack: Stack, url: str, *options: str, at: str = "", folder: Path | None = None) -> str:
    """Runs a move that must not succeed: it is killed at a failpoint, or refuses in one line, which is returned."""
    variables = {}
    if folder:
        (folder / at).touch()
        variables["PLATFORM_FAILPOINTS"] = str(folder)
    done = stack.run("move_service", "user", "--to", url, *options, timeout=240, **variables)
    assert done.returncode == (-signal.SIGKILL if folder else 1), done.stdout + done.stderr
    return done.stderr.strip()


def people(url: str) -> list[tuple[int, str]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT id, name FROM user_svc.user_svc_user ORDER BY id").fetchall()


@contextmanager
def server_of(stack: Stack) -> Iterator[str]:
    """The administrator's URL of the embedded server of a platform that stands still."""
    server = postgres.acquire(stack.folder / "data")
    try:
        yield server.url
    finally:
        server.release()


PLACES = ["marked", "prepared", "published", "subscribed", "fenced", "sequenced", "live"]


@pytest.mark.parametrize("place", [place if place == "live" else slow(place) for place in PLACES])
def test_a_move_that_was_killed_goes_on(ann, target, tmp_path, place):
    stops(ann, target, at=f"move.{place}", folder=tmp_path)
    if place not in ("fenced", "sequenced", "live"):
        hires(ann, "bob")
    there = len(people(target)) if place == "live" else None
    file = tmp_path / "url"
    move(ann, USER, target, "--url-file", str(file))
    assert file.stat().st_mode & 0o077 == 0
    assert there in (None, len(people(target)))
    variables = {"USER_DATABASE_URL_FILE": str(file)}
    hires(ann, "eve", **variables)
    ids, names = zip(*people(target), strict=True)
    assert (names[0], names[-1]) == ("ann", "eve") and ids == tuple(range(1, len(ids) + 1)), "the sequence goes on"
    epochs = "SELECT array_agg(DISTINCT epoch ORDER BY epoch) FROM user_svc.events_event"
    assert ask(target, epochs) == [1, 2]
    assert "moved already" in move(ann, USER, target)
    with server_of(ann) as source:
        assert len(people(source)) == len(ids) - 1
        assert ask(source, "SELECT count(*) FROM pg_replication_slots") == 0
        refused = ann.run("user_svc", "make_staff", "old@example.com", "--name", "old")
        assert "not permitted to log in" in refused.stderr, "nobody writes to the old one by mistake"
        assert ann.run("migrate").returncode == 1
        assert len(people(source)) == len(ids) - 1


@pytest.mark.nightly
@pytest.mark.parametrize("place", PLACES)
def test_a_move_can_be_aborted_until_the_service_writes_to_the_target(ann, target, tmp_path, place):
    file = tmp_path / "url"
    stops(ann, target, "--url-file", str(file), at=f"move.{place}", folder=tmp_path)
    move(ann, USER, target, "--abort", "--url-file", str(file))
    hires(ann, "bob", USER_DATABASE_URL_FILE=str(file))
    with server_of(ann) as source:
        assert people(source) == [(1, "ann"), (2, "bob")]
        assert ask(source, "SELECT count(*) FROM pg_replication_slots") == 0
        assert ask(source, "SELECT count(*) FROM pg_publication") == 0
        newest = ask(source, "SELECT max(epoch) FROM user_svc.events_event")
        assert newest == (3 if place == "live" else 1), "a consumer may have seen the target's epoch"
    assert ask(target, "SELECT to_regnamespace('user_svc')::text") is None
    assert "no move to abort" in stops(ann, target, "--abort")
    move(ann, USER, target)
    assert people(target) == [(1, "ann"), (2, "bob")]


def test_a_service_that_has_written_to_the_target_is_not_taken_back(ann, target, tmp_path):
    stops(ann, target, at="move.live", folder=tmp_path)
    there = target.replace("postgres@", "user_svc@")
    hires(ann, "bob", USER_DATABASE_URL=there)
    assert "has written to the target already: " in stops(ann, target, "--abort")
    hires(ann, "eve", USER_DATABASE_URL=there)
    move(ann, USER, target)
    assert [name for _, name in people(target)] == ["ann", "bob", "eve"]


@pytest.mark.nightly
def test_copies_that_differ_end_the_pause_and_the_service_goes_on(ann, target, tmp_path):
    stops(ann, target, at="move.subscribed", folder=tmp_path)
    eventually("the row is copied", lambda: people(target), 60)
    ask(target, "UPDATE user_svc.user_svc_user SET name = 'eve'")
    url = tmp_path / "url"
    message = stops(ann, target, "--url-file", str(url))
    assert "user_svc_user has 1 rows at the source, 1 at the target, with other contents" in message
    hires(ann, "bob", USER_DATABASE_URL_FILE=str(url))
    ask(target, "UPDATE user_svc.user_svc_user SET name = 'ann' WHERE id = 1")
    move(ann, USER, target)
    assert people(target) == [(1, "ann"), (2, "bob")]


@pytest.mark.nightly
def test_partitions_that_come_and_go_meanwhile_are_followed(ann, target, tmp_path):
    with server_of(ann) as source:
        ask(source, "CREATE TABLE user_svc.parted (n int, at int, PRIMARY KEY (n, at)) PARTITION BY RANGE (at)")
        ask(source, "ALTER TABLE user_svc.parted OWNER TO user_svc")
        part = "CREATE TABLE user_svc.parted_{0} PARTITION OF user_svc.parted FOR VALUES FROM ({0}) TO ({1})"
        for number in (1, 2):
            ask(source, part.format(number, number + 1))
        ask(source, "INSERT INTO user_svc.parted VALUES (1, 1), (2, 2)")
    stops(ann, target, at="move.subscribed", folder=tmp_path)
    with server_of(ann) as source:
        eventually("it is copied", lambda: ask(target, "SELECT count(*) FROM user_svc.parted") == 2, 60)
        ask(source, part.format(3, 4))
        ask(source, "INSERT INTO user_svc.parted VALUES (3, 3)")
        ask(source, "DROP TABLE user_svc.parted_1")
    move(ann, USER, target)
    rows = "SELECT string_agg(tableoid::regclass || ' ' || n, ', ' ORDER BY n) FROM user_svc.parted"
    assert ask(target, rows) == "user_svc.parted_2 2, user_svc.parted_3 3"
    assert ask(target, "SELECT tableowner FROM pg_tables WHERE tablename = 'parted_3'") == "user_svc"


def test_what_is_in_the_way_is_said_before_anything_is_changed(ann, target):
    with server_of(ann) as source:
        assert "are the same server" in stops(ann, source)
        ask(source, "CREATE TABLE user_svc.bare (n int)")
        ask(source, "CREATE UNLOGGED TABLE user_svc.passing (n int PRIMARY KEY)")
        ensure_database(target)
        ask(target, "CREATE SCHEMA user_svc CREATE TABLE mine (n int)")
        message = stops(ann, target)
        for part in ("bare has no primary key", "passing is not logged", "has a schema user_svc with tables already"):
            assert part in message
        assert ask(source, "SHOW wal_level") == "replica"
        assert ask(source, "SELECT count(*) FROM pg_publication") == 0
