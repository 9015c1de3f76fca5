"""The platform behind PgBouncer in transaction mode: the requests of many clients share few sessions of Postgres."""

import contextlib
import itertools
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psutil
import psycopg
import pytest

from platform_core.db.role_limits import LIMITS
from platform_core.topology import ANALYTICS, NOTIFICATION, ORDER, PRODUCT, SERVICES, USER
from tests import pooler
from tests.e2e.freezing import frozen, postgres_processes
from tests.e2e.stack import Shop, Stack, eventually, temporary_stack
from tests.notification_svc.receivers import Receiver

pytestmark = pytest.mark.skipif(pooler.program() is None, reason=pooler.MISSING)
CLIENTS, ORDERS, STOCK = 16, 120, 100
DEADLINE, SLACK = 5.0, 5.0
TRACKED = ("application_name", "client_encoding", "DateStyle", "TimeZone", "standard_conforming_strings")
"""Settings that PgBouncer keeps for each client and sets again where another client had others."""
LEFT_BEHIND = f"""
    SELECT 'setting ' || name || ' = ' || setting FROM pg_settings WHERE source = 'session' AND name NOT IN {TRACKED}
    UNION ALL SELECT 'prepared ' || statement FROM pg_prepared_statements
    UNION ALL SELECT 'cursor ' || name FROM pg_cursors
    UNION ALL SELECT 'lock' FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
"""
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def pooled(template: Path) -> Iterator[Stack]:
    with temporary_stack(template, is_pooled=True) as stack:
        yield stack.up(WEB_CONCURRENCY="4")


@pytest.fixture
def shop(pooled: Stack) -> Shop:
    return Shop(pooled)


@pytest.fixture
def ann(shop: Shop) -> str:
    return str(shop.made(USER, "/api/users", name="Ann", email=f"pooled{next(_numbers)}@example.com")["id"])


def test_orders_of_many_clients_sell_the_stock_once_and_leave_nothing_in_the_sessions(pooled, shop, ann):
    lamp = shop.made(PRODUCT, "/api/products", name="Lamp", price=19.99, stock=STOCK)["id"]

    def place(number: int) -> int:
        """With deadlines of all kinds, since each is another limit for its statements."""
        client = Shop(pooled)
        headers = {"X-Request-Timeout": str(1 + number % 30), "Idempotency-Key": f"pooled-{number}"}
        order = {"userId": ann, "productId": lamp, "quantity": 1}
        client.ask("GET", PRODUCT, f"/api/products/{lamp}", headers=headers)
        while (status := client.ask("POST", ORDER, "/api/orders", json=order, headers=headers).status_code) == 503:
            time.sleep(0.2)
        return status

    with ThreadPoolExecutor(CLIENTS) as threads:
        answers = list(threads.map(place, range(ORDERS)))
    assert set(answers) <= {201, 409}
    assert answers.count(201) <= STOCK
    pooled_sessions_are_clean(pooled)
    verified = pooled.run("verify", "--wait", "60", timeout=200)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    left = shop.get(PRODUCT, f"/api/products/{lamp}")["stock"]
    confirmed = shop.get(ORDER, f"/api/orders?userId={ann}&status=confirmed&limit=100")["results"]
    assert left + len(confirmed) == STOCK


def pooled_sessions_are_clean(pooled: Stack) -> None:
    """No session of the pool has settings, statements, cursors or locks that a client has left there."""
    for service in SERVICES:
        with ExitStack() as clients:
            url, seen = pooled.pooling().url(service.role), set()
            for _ in range(pooler.POOL):  # each holds a transaction, and so a session of its own
                client = clients.enter_context(psycopg.connect(url, prepare_threshold=None))
                seen.add(client.execute("SELECT pg_backend_pid()").fetchone())
                assert client.execute(LEFT_BEHIND.encode()).fetchall() == [], service.name
                limits = "SELECT name, reset_val FROM pg_settings WHERE name = ANY(%s)"
                assert dict(client.execute(limits, [list(LIMITS)]).fetchall()) == LIMITS
            assert len(seen) == pooler.POOL


def test_postgres_ends_a_statement_at_the_limit_of_the_role(pooled):
    limit = "ALTER ROLE user_svc SET statement_timeout = '{}'"
    with psycopg.connect(pooled.database_url(), autocommit=True) as owner:
        try:
            owner.execute(limit.format("1s").encode())
            pooled.pooling().command("RECONNECT")
            with (
                psycopg.connect(pooled.pooling().url("user_svc"), autocommit=True) as client,
                pytest.raises(psycopg.errors.QueryCanceled),
            ):
                client.execute("SELECT pg_sleep(60)")
        finally:
            owner.execute(limit.format(LIMITS["statement_timeout"]).encode())
            pooled.pooling().command("RECONNECT")


@pytest.mark.parametrize("what", ["pooler", "postgres"])
def test_while_the_pooler_or_postgres_is_frozen_every_answer_comes_within_its_deadline(pooled, what):
    def timed(service, path):
        began = time.monotonic()
        return Shop(pooled).ask("GET", service, path).status_code, time.monotonic() - began

    processes = {
        "pooler": lambda: [psutil.Process(pooled.pooling().process.pid)],
        "postgres": lambda: postgres_processes(pooled),
    }
    with frozen(processes[what]()), ThreadPoolExecutor(20) as threads:
        paths = [(ORDER, "/api/orders"), (PRODUCT, "/api/products"), (USER, "/api/users")]
        answers = [each.result() for each in [threads.submit(timed, *path) for path in paths * 4]]
        lives = [timed(service, "/health/live")[0] for service in SERVICES]
    assert {status for status, _ in answers} == {503}
    assert max(seconds for _, seconds in answers) < DEADLINE + SLACK
    assert lives == [200] * len(SERVICES)
    for service in SERVICES:
        eventually(f"{service.name} is ready", lambda service=service: timed(service, "/health/ready")[0] == 200)


def test_a_pooler_that_starts_again_is_found_again(pooled, shop):
    pooled.pooling().stop()
    assert shop.ask("GET", PRODUCT, "/api/products").status_code == 503
    pooled.pooling()
    eventually("products are read", lambda: shop.ask("GET", PRODUCT, "/api/products").status_code == 200)


def test_messages_and_webhooks_are_delivered(shop, ann):
    with contextlib.closing(Receiver()) as receiver:
        shop.made(NOTIFICATION, "/api/webhooks", url=receiver.url, events=["order.confirmed"])
        lamp = shop.made(PRODUCT, "/api/products", name="Lamp", price=19.99, stock=10)["id"]
        order = shop.made(ORDER, "/api/orders", userId=ann, productId=lamp, quantity=1)["id"]
        eventually(
            "sent",
            lambda: (
                [each["status"] for each in shop.get(NOTIFICATION, f"/api/notifications/{ann}")["results"]] == ["sent"]
            ),
        )
        eventually("arrived", lambda: [json.loads(each.body)["subject"] for each in receiver.received] == [order])


def test_a_rebuild_computes_the_same_figures(pooled, shop):
    def counted() -> object:
        found = shop.get(ANALYTICS, "/api/analytics/summary")
        return not found["stale"] and {name: found[name] for name in ("users", "products", "orders")}

    before = eventually("complete", counted)
    done = pooled.run("analytics_svc", "rebuild")
    assert done.returncode == 0, done.stderr
    assert eventually("complete again", counted) == before
    pooled_sessions_are_clean(pooled)


def test_migrate_runs_past_the_pooler_beside_the_running_platform(pooled):
    for arguments in (["migrate"], ["order_svc", "migrate"]):
        done = pooled.run(*arguments)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_service_restarts_without_a_failed_request(pooled, shop):
    with ThreadPoolExecutor(1) as threads:
        restarted = threads.submit(pooled.run, "restart", "product")
        answers = []
        while not restarted.done():
            answers.append(shop.ask("GET", PRODUCT, "/api/products").status_code)
        assert restarted.result().returncode == 0, restarted.result().stderr
    assert set(answers) == {200}


@pytest.mark.parametrize("arguments", [["verify"], ["migrate"]])
def test_a_command_that_needs_a_session_says_that_it_has_none(pooled, arguments):
    done = pooled.run(*arguments, ORDER_DIRECT_URL="")
    assert done.returncode == 1
    assert "There is a pooler in front of this database" in done.stderr


def test_a_new_epoch_is_raised_once_the_platform_has_stopped(pooled, shop, ann):
    pooled.stop()
    pooled.pooling()
    done = pooled.run("new_epoch")
    assert done.returncode == 0, done.stderr
    pooled.up(WEB_CONCURRENCY="4")
    before = shop.get(ORDER, f"/api/orders?userId={ann}")["results"]
    lamp = shop.made(PRODUCT, "/api/products", name="Lamp", price=19.99, stock=10)["id"]
    shop.made(ORDER, "/api/orders", userId=ann, productId=lamp, quantity=1)
    assert len(shop.get(ORDER, f"/api/orders?userId={ann}")["results"]) == len(before) + 1
    verified = pooled.run("verify", "--wait", "60", timeout=200)
    assert verified.returncode == 0, verified.stdout + verified.stderr
