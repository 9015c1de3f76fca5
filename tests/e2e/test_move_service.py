"""`manage.py move_service`: a service's schema moves to another Postgres server while customers order."""

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

from platform_core.stack import postgres
from platform_core.topology import ANALYTICS, ORDER, PRODUCT, Service
from tests.chaos.load import Promised, check_promises, customers
from tests.e2e.stack import Shop, Stack, eventually, own_folder

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
            print(move(own_stack, service, target, "--url-file", str(files[service]), "--then", then, **variables))
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
    assert figures["orders"]["total"] == ask(target, "SELECT count(*) FROM order_svc.order_svc_order")
