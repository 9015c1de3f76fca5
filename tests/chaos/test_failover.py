"""The primary is lost under load and its standby is promoted: nothing acknowledged is lost, or the loss is noticed."""

import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_core.topology import NOTIFICATION, ORDER, PRODUCT, USER
from tests.chaos.load import Promised, check_promises, customers
from tests.chaos.replicas import Pair
from tests.e2e.stack import Shop, eventually, temporary_stack

ORDERS = 40


@pytest.fixture
def pair() -> Iterator[Pair]:
    with tempfile.TemporaryDirectory(prefix="platform-pair-") as folder:
        pair = Pair(Path(folder))
        try:
            yield pair
        finally:
            pair.stop()


def test_with_a_synchronous_standby_no_acknowledged_order_is_lost(pair, seed):
    pair.wait_for_standby()
    with temporary_stack() as stack:
        stack.up(DATABASE_URL=pair.url("postgres", "platform"), PENDING_SECONDS="8", LOG_LEVEL="warn")
        promised, over = Promised(), threading.Event()
        clients = customers(stack, promised, seed, over)
        for client in clients:
            client.start()
        eventually("orders are placed", lambda: promised.figures["orders confirmed"] > ORDERS, 60)
        pair.primary.kill()
        pair.standby.promote()
        before = promised.figures["orders confirmed"]
        eventually("orders are placed again", lambda: promised.figures["orders confirmed"] > before + ORDERS, 90)
        over.set()
        for client in clients:
            client.join(120)
        print(dict(promised.figures))

        variables = {"DATABASE_URL": pair.url("postgres", "platform"), "PENDING_SECONDS": "8"}
        verified = stack.run("verify", "--wait", "60", timeout=400, **variables)
        assert verified.returncode == 0, verified.stdout + verified.stderr
        check_promises(stack, promised)
        noted = "SELECT timeline || lost FROM order_svc.events_serverhistory"
        assert pair.standby.ask(noted, "platform") == "2", "it is recorded, and nobody is alarmed"


@pytest.mark.nightly
def test_lost_orders_of_an_asynchronous_standby_are_noticed_and_no_id_is_used_twice(pair):
    """order-service has a database of its own. Its standby is behind when it is promoted."""
    pair.primary.ask("CREATE ROLE order_svc LOGIN")
    pair.primary.ask("CREATE DATABASE orders OWNER order_svc")
    variables = {"ORDER_DATABASE_URL": pair.url("order_svc", "orders"), "LOG_LEVEL": "warn", "PENDING_SECONDS": "8"}
    with temporary_stack() as stack:
        shop = Shop(stack.up(**variables))
        user = shop.made(USER, "/api/users", name="Ann", email="ann@example.com")["id"]
        product = shop.made(PRODUCT, "/api/products", name="Lamp", price=7, stock=1000)["id"]
        body = {"userId": user, "productId": product, "quantity": 1}
        kept = [shop.made(ORDER, "/api/orders", **body)["id"] for _ in range(10)]
        replayed = "SELECT pg_last_wal_replay_lsn() >= '{}'::pg_lsn"
        written = pair.primary.ask("SELECT pg_current_wal_lsn()")
        eventually("the standby has them", lambda: pair.standby.ask(replayed.format(written)))

        pair.standby.stop()
        lost = [shop.made(ORDER, "/api/orders", **body)["id"] for _ in range(50)]

        def told() -> bool:
            notes = shop.get(NOTIFICATION, f"/api/notifications/{user}?limit=200")["results"]
            return len([note for note in notes if note["status"] == "sent"]) == len(kept + lost)

        eventually("their customers are told", told)
        stack.stop()  # so that no process remembers anything
        pair.primary.stop(signal.SIGQUIT)
        pair.standby.start()
        pair.standby.promote()

        stack.up(**variables)
        refused = shop.ask("POST", ORDER, "/api/orders", json=body)
        assert refused.status_code == 503, refused.text
        assert f"product-service knows order {lost[-1]}, and the newest one here is {kept[-1]}" in refused.text
        check = shop.get(ORDER, "/health")["checks"]["history"]
        assert (check["status"], "new_epoch" in check["detail"]) == ("down", True)
        assert shop.get(ORDER, f"/api/orders/{kept[0]}")["status"] == "confirmed", "reading goes on"
        verified = stack.run("verify", "--wait", "1", **variables)
        assert verified.returncode == 1
        assert "the database of order-service has lost transactions" in verified.stdout
        stack.stop()

        renewed = stack.run("new_epoch", **variables)
        assert renewed.returncode == 0, renewed.stderr
        stack.up(**variables)
        made = shop.made(ORDER, "/api/orders", **body)["id"]
        assert int(made) > max(int(order) for order in lost)
        repaired = stack.run("verify", "--wait", "1", "--repair", **variables)
        assert f"order {lost[0]} is unknown but holds stock" in repaired.stdout
        stock = 1000 - len(kept) - 1
        eventually("their stock is back", lambda: shop.get(PRODUCT, f"/api/products/{product}")["stock"] == stock, 60)
