"""`manage.py demo` fills a shop through the services' bulk paths, and every promise holds afterwards."""

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from platform_core.topology import ANALYTICS, NOTIFICATION, ORDER, PRODUCT, USER, Service
from tests.e2e.stack import TIMEOUT, Shop, Stack, eventually

SIZES = ("--users", "30", "--products", "40", "--orders", "150")
MORE = ("--users", "35", "--products", "40", "--orders", "1400")


@pytest.fixture(scope="module")
def first_run() -> Iterator[tuple[Stack, str]]:
    """Migrated and filled before anything runs, then started; and what the first `demo` printed."""
    with tempfile.TemporaryDirectory(prefix="platform-e2e-") as name:
        Path(name).chmod(0o755)
        stack = Stack(Path(name))
        try:
            early = stack.run("demo", *SIZES)
            assert (early.returncode, early.stdout) == (1, "")
            assert early.stderr.count("\n") == 1
            assert "not migrated" in early.stderr
            assert stack.run("migrate").returncode == 0
            done = stack.run("demo", *SIZES)
            assert done.returncode == 0, done.stderr
            assert "analytics-service will process them at the next report" in done.stdout
            yield stack.up(), done.stdout
        finally:
            stack.stop()


@pytest.fixture(scope="module")
def filled(first_run: tuple[Stack, str]) -> Stack:
    return first_run[0]


def listed(stack: Stack, service: Service, path: str) -> list[Any]:
    """Everything that a service lists, page by page."""
    shop, found, url = Shop(stack), [], f"{stack.url(service, path)}?limit=200"
    while url:
        page = shop.session.get(url, timeout=40).json()
        found += page["results"]
        url = page["next"]
    return found


def test_every_promise_holds_and_a_second_run_adds_nothing(filled):
    assert filled.run("verify", "--wait", "30").returncode == 0
    before = Shop(filled).get(ANALYTICS, "/api/analytics/summary")
    again = filled.run("demo", *SIZES)
    assert again.returncode == 0, again.stderr
    assert "30 users, 40 products and 150 orders of seed 1 are there already: nothing was added" in again.stdout
    assert "Password" not in again.stdout
    after = Shop(filled).get(ANALYTICS, "/api/analytics/summary")
    assert {**after, "asOf": ""} == {**before, "asOf": ""}


def test_the_figures_are_what_the_services_list(filled):
    figures = Shop(filled).get(ANALYTICS, "/api/analytics/summary")
    users, products = listed(filled, USER, "/api/users"), listed(filled, PRODUCT, "/api/products")
    orders, notes = listed(filled, ORDER, "/api/orders"), listed(filled, NOTIFICATION, "/api/notifications")
    assert figures["stale"] == []
    assert figures["users"]["total"] == len(users)
    assert figures["products"]["total"] == len(products)
    assert figures["products"]["outOfStock"] == sum(product["stock"] == 0 for product in products) > 0
    assert figures["products"]["stockUnits"] == sum(product["stock"] for product in products)
    counted = Counter(order["status"] for order in orders)
    assert figures["orders"]["byStatus"] == {
        status: counted[status] for status in ("confirmed", "cancelled", "shipped", "delivered", "rejected")
    }
    assert all(figures["orders"]["byStatus"].values())
    paid = sum(Decimal(str(order["total"])) for order in orders if order["status"] not in ("cancelled", "rejected"))
    assert Decimal(str(figures["orders"]["revenue"])) == paid
    assert figures["notifications"]["byStatus"] == {"sent": len(notes), "failed": 0}
    emails = {user["id"]: user["email"] for user in users}
    assert all(order["customer"]["email"] == emails[order["userId"]] for order in orders if order["customer"])
    assert {order["status"] for order in orders if not order["customer"]} == {"rejected"}
    assert all(note["recipient"] == emails[note["userId"]] for note in notes)
    assert all(user["email"].endswith(("@example.com", "@example.org")) for user in users)


def test_the_first_run_makes_an_account_of_the_staff_and_shows_its_password(first_run):
    stack, printed = first_run
    (password,) = re.findall(r"staff@example\.com has the roles admin\.\s+Password, shown only once: (\S+)", printed)
    body = {"email": "staff@example.com", "password": password}
    assert Shop(stack).ask("POST", USER, "/api/auth/token", json=body).status_code == 200


def test_the_orders_lie_in_the_past_weeks(filled):
    by_day = Shop(filled).get(ANALYTICS, "/api/analytics/orders?days=60")["byDay"]
    assert sum(day["orders"] > 0 for day in by_day) > 25


@pytest.mark.nightly
def test_beside_a_running_platform_larger_numbers_add_the_difference(filled):
    done = filled.run("demo", *MORE)
    assert done.returncode == 0, done.stderr
    assert "orders: 1400 of 1400" in done.stdout.splitlines()
    assert "analytics: 1400 of 1400" in done.stdout.splitlines()
    assert filled.run("verify", "--wait", "30").returncode == 0
    figures = Shop(filled).get(ANALYTICS, "/api/analytics/summary")
    assert (figures["users"]["total"], figures["orders"]["total"]) == (36, 1400), "and the staff"


@pytest.mark.nightly
def test_an_interrupted_demo_leaves_no_partial_orders_and_can_be_completed(filled):
    before = len(listed(filled, USER, "/api/users"))
    command = ("demo", "--users", "30", "--products", "40", "--orders", "20000", "--seed", "2")
    process = subprocess.Popen(filled.command(*command), env=filled.environment, stderr=subprocess.PIPE, text=True)
    count = "SELECT count(*) FROM order_svc.order_svc_order WHERE idempotency_key LIKE '2-%'"
    with psycopg.connect(filled.database_url(), autocommit=True) as connection:
        eventually("some orders", lambda: connection.execute(count).fetchone() != (0,))
        process.terminate()
        _, errors = process.communicate(timeout=TIMEOUT)
        assert (process.returncode, errors) == (1, "Stopped. Run the same command again to continue.\n")
        (kept,) = connection.execute(count).fetchone() or (0,)
    assert 0 < kept < 20000
    assert filled.run("verify", "--wait", "30").returncode == 0
    done = filled.run(*command[:-4], "--orders", str(kept + 500), "--seed", "2")
    assert done.returncode == 0, done.stderr
    assert filled.run("verify", "--wait", "30").returncode == 0
    assert len(listed(filled, USER, "/api/users")) == before + 30


def test_the_shop_is_open_afterwards(filled):
    shop = Shop(filled)
    product = next(product for product in shop.get(PRODUCT, "/api/products?inStock=true")["results"])
    user = shop.get(USER, "/api/users")["results"][0]
    body = {"userId": user["id"], "productId": product["id"], "quantity": 1}
    order = shop.made(ORDER, "/api/orders", **body)
    assert order["items"][0]["name"] == product["name"]
    assert shop.get(PRODUCT, f"/api/products/{product['id']}")["stock"] == product["stock"] - 1
    confirmed = shop.get(ORDER, "/api/orders?status=confirmed")["results"][1]
    assert shop.ask("POST", ORDER, f"/api/orders/{confirmed['id']}/cancel").status_code == 200
    released = f"/api/stock-reservations/{confirmed['id']}"
    eventually("the release", lambda: shop.get(PRODUCT, released)["status"] == "released")
    eventually("all is well", lambda: filled.run("verify", "--wait", "5").returncode == 0)


@pytest.mark.nightly
def test_a_message_that_is_sent_again_finds_the_one_that_is_there(filled):
    """The demo's notifications carry key, sender and fingerprint as order-service's own requests would have them."""
    with psycopg.connect(filled.database_url()) as connection:
        # A young order: retention deletes the messages of older ones.
        changed = connection.execute(
            "UPDATE order_svc.outbox_outboxmessage SET state = 'pending', available_at = now() WHERE id = ("
            " SELECT max(id) FROM order_svc.outbox_outboxmessage WHERE request_id = 'demo' AND key LIKE '%-confirmed'"
            ") RETURNING split_part(aggregate, ':', 2)"
        ).fetchone()
        assert changed is not None
    count = "SELECT count(*) FROM order_svc.outbox_outboxmessage WHERE state <> 'delivered'"
    with psycopg.connect(filled.database_url(), autocommit=True) as connection:
        eventually("delivered again", lambda: connection.execute(count).fetchone() == (0,))
    notes = listed(filled, NOTIFICATION, "/api/notifications")
    assert sum(note["subject"] == f"Order {changed[0]} is confirmed" for note in notes) == 1
    assert filled.run("verify").returncode == 0


def test_production_has_no_demo_data(own_stack):
    done = own_stack.run("demo", PLATFORM_ENV="production")
    assert done.returncode == 1
    assert done.stderr == "Demo data is not for production: PLATFORM_ENV is production here.\n"
    assert not (own_stack.folder / "data").exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (("--users", "-1"), "--users: expected a whole number from 0 to 1000000"),
        (("--products", "many"), "--products: expected a whole number from 0 to 100000"),
        (("--orders", "5000001"), "--orders: expected a whole number from 0 to 5000000"),
        (("--seed", "1.5"), "--seed: expected a whole number from 0 to 999999999"),
        (("--users", "0"), "--users and --products above 0"),
    ],
)
def test_an_option_out_of_its_bounds_is_named(own_stack, options, message):
    done = own_stack.run("demo", *options)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
