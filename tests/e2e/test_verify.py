"""`manage.py verify` reports broken promises, and repairs those that are safe to repair."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from platform_core.topology import NOTIFICATION, ORDER, PRODUCT, USER
from tests.e2e.stack import Shop, Stack, eventually, temporary_stack


@pytest.fixture(scope="module")
def kept(template: Path) -> Iterator[Stack]:
    """A platform whose tables the tests corrupt and restore."""
    with temporary_stack(template) as stack:
        yield stack.up()


@pytest.fixture(scope="module")
def orders(kept: Stack) -> dict[str, str]:
    """One order of each kind, all consequences delivered."""
    shop = Shop(kept)
    user = shop.made(USER, "/api/users", name="Ann", email="ann@example.com")
    product = shop.made(PRODUCT, "/api/products", name="Lamp", price=7, stock=100)
    body = {"userId": user["id"], "productId": product["id"], "quantity": 2}
    made = {name: shop.made(ORDER, "/api/orders", **body)["id"] for name in ("confirmed", "cancelled", "shipped")}
    shop.ask("POST", ORDER, f"/api/orders/{made['cancelled']}/cancel")
    shop.ask("POST", ORDER, f"/api/orders/{made['shipped']}/ship")

    def sent() -> bool:
        notes = shop.get(NOTIFICATION, f"/api/notifications/{user['id']}")["results"]
        return len(notes) == 5 and all(note["status"] == "sent" for note in notes)

    eventually("all five messages", sent)
    eventually("the release", lambda: shop.get(PRODUCT, f"/api/products/{product['id']}")["stock"] == 96)
    return {**made, "user": user["id"], "product": product["id"]}


def tamper(stack: Stack, *statements: str) -> None:
    with psycopg.connect(stack.database_url()) as connection:
        for statement in statements:
            assert connection.execute(statement.encode()).rowcount > 0, statement


def test_verify_finds_no_problem_in_a_healthy_platform(kept, orders):
    done = kept.run("verify")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "violations" not in done.stdout


DAMAGE = {
    "stock without a movement": (
        "UPDATE product_svc.product_svc_product SET stock = stock + 1",
        "UPDATE product_svc.product_svc_product SET stock = stock - 1",
        "product {product} has 97, its movements add up to 96",
    ),
    "a reservation that was lost": (
        "UPDATE product_svc.product_svc_stockreservation SET status = 'released' WHERE order_id = {confirmed}",
        "UPDATE product_svc.product_svc_stockreservation SET status = 'reserved' WHERE order_id = {confirmed}",
        "order {confirmed} is confirmed but holds no stock",
    ),
    "another quantity than ordered": (
        "UPDATE order_svc.order_svc_orderline SET quantity = 3 WHERE order_id = {shipped}",
        "UPDATE order_svc.order_svc_orderline SET quantity = 2 WHERE order_id = {shipped}",
        "order {shipped} holds {product}:2, but orders {product}:3",
    ),
    "a message that never arrived": (
        "UPDATE notification_svc.notification_svc_notification SET sender_key = 'x' "
        "WHERE sender_key = 'order-{confirmed}-confirmed'",
        "UPDATE notification_svc.notification_svc_notification SET sender_key = 'order-{confirmed}-confirmed' "
        "WHERE sender_key = 'x'",
        "message order-{confirmed}-confirmed was delivered but does not exist",
    ),
    "a message that was never written": (
        "UPDATE order_svc.outbox_outboxmessage SET key = 'x' WHERE key = 'order-{shipped}-shipped'",
        "UPDATE order_svc.outbox_outboxmessage SET key = 'order-{shipped}-shipped' WHERE key = 'x'",
        "order {shipped} lacks its message 'shipped'",
    ),
    "an event that was lost": (
        "UPDATE order_svc.events_event SET type = 'x' WHERE type = 'order.cancelled'",
        "UPDATE order_svc.events_event SET type = 'order.cancelled' WHERE type = 'x'",
        "order {cancelled} has 0 events order.cancelled",
    ),
    "events of another server": (
        "UPDATE order_svc.events_event SET txid = txid + 1000000000 WHERE type = 'order.cancelled'",
        "UPDATE order_svc.events_event SET txid = txid - 1000000000 WHERE type = 'order.cancelled'",
        "the feed of order-service has 1 events of another server",
    ),
    "an id that will be given out twice": (
        "SELECT setval('order_svc.order_svc_order_id_seq', 1)",
        "SELECT setval('order_svc.order_svc_order_id_seq', 100)",
        "the sequence of order_svc_order has given out 1, and other services know {shipped}: run `manage",
    ),
    "lost transactions": (
        "UPDATE product_svc.events_serverhistory SET lost = 'Some are gone. Do this.'",
        "UPDATE product_svc.events_serverhistory SET lost = ''",
        "the database of product-service has lost transactions: Some are gone. Do this.",
    ),
    "a customer of an erased person": (
        "INSERT INTO user_svc.platform_core_erasedperson (user_id, erased_at) VALUES ({user}, now())",
        "DELETE FROM user_svc.platform_core_erasedperson",
        "person {user} at order-service was erased, but is in order {cancelled}",
    ),
    "a message to an erased person": (
        "INSERT INTO user_svc.platform_core_erasedperson (user_id, erased_at) VALUES ({user}, now())",
        "DELETE FROM user_svc.platform_core_erasedperson",
        "person {user} at notification-service was erased, but is in notification",
    ),
    "a stored answer with a customer": (
        "INSERT INTO order_svc.platform_core_idempotencykey "
        "(caller, key, fingerprint, status, headers, body, created_at) "
        """VALUES ('c', 'k-9', '', 200, '{{}}', '{{"id":"1","customer":{{"name":"Ann"}}}}', now())""",
        "DELETE FROM order_svc.platform_core_idempotencykey WHERE key = 'k-9'",
        "stored answer k-9 has the customer of an order",
    ),
    "figures that are wrong": (
        "UPDATE analytics_svc.analytics_svc_figure SET value = value + 5 WHERE name = 'orders.revenue'",
        "UPDATE analytics_svc.analytics_svc_figure SET value = value - 5 WHERE name = 'orders.revenue'",
        "analytics orders.revenue says 33.00, but the tables have 28.00",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_verify_names_broken_promises(kept, orders, damage):
    breaking, mending, expected = (text.format(**orders) for text in DAMAGE[damage])
    tamper(kept, breaking)
    try:
        done = kept.run("verify", "--wait", "1")
    finally:
        tamper(kept, mending)
    assert done.returncode == 1
    assert expected in done.stdout


def test_a_deleted_user_is_erased_everywhere_and_repair_erases_what_came_back(kept, orders):
    shop = Shop(kept)
    user = shop.made(USER, "/api/users", name="Eve", email="eve@example.com")["id"]
    order = shop.made(ORDER, "/api/orders", userId=user, productId=orders["product"], quantity=1)["id"]
    shop.ask("POST", ORDER, f"/api/orders/{order}/cancel")
    shop.ask("DELETE", USER, f"/api/users/{user}")

    def customer():
        return shop.get(ORDER, f"/api/orders/{order}")["customer"]

    eventually("the erasure", lambda: customer() is None)
    done = kept.run("verify", "--wait", "15")
    assert done.returncode == 0, done.stdout
    restored = "customer_name = 'Eve', customer_email = 'eve@example.com', customer_address = ''"
    tamper(kept, f"UPDATE order_svc.order_svc_order SET {restored} WHERE id = {order}")
    done = kept.run("verify", "--repair", "--wait", "1")
    assert f"person {user} at order-service was erased, but is in order {order} – is being erased" in done.stdout
    assert done.returncode == 0
    eventually("the second erasure", lambda: customer() is None)


def test_repair_releases_a_reservation_without_an_order(kept, orders):
    shop = Shop(kept)
    item = {"productId": orders["product"], "quantity": 5}
    assert shop.ask("PUT", PRODUCT, "/api/stock-reservations/5000", json={"items": [item]}).status_code == 201
    assert "order 5000 is unknown but holds stock" in kept.run("verify", "--wait", "1").stdout
    done = kept.run("verify", "--wait", "1", "--repair")
    assert done.returncode == 0, done.stdout
    assert "released" in done.stdout
    reservation = "/api/stock-reservations/5000"
    eventually("its release", lambda: shop.get(PRODUCT, reservation)["status"] == "released")
    assert kept.run("verify").returncode == 0


def test_repair_has_dead_messages_delivered(kept, orders):
    key = f"order-{orders['confirmed']}-confirmed"
    tamper(
        kept,
        f"UPDATE order_svc.outbox_outboxmessage SET state = 'dead', delivered_at = NULL WHERE key = '{key}'",
    )
    assert f"order_svc {key} is dead" in kept.run("verify", "--wait", "1").stdout
    assert kept.run("verify", "--wait", "1", "--repair").returncode == 0
    eventually("it is delivered", lambda: kept.run("verify", "--wait", "1").returncode == 0)


def test_without_the_platform_it_says_so_in_a_line(own_stack):
    done = own_stack.run("verify")
    assert done.returncode == 1
    assert "cannot be read" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_message_that_can_never_arrive_is_no_broken_promise(kept, orders):
    shop = Shop(kept)
    shop.made(NOTIFICATION, "/api/notifications/send", userId="424242", message="Anybody there?")

    def failed() -> bool:
        (note,) = shop.get(NOTIFICATION, "/api/notifications/424242")["results"]
        return note["status"] == "failed" and "424242" in note["lastError"]

    eventually("it has failed, and says why", failed)
    done = kept.run("verify", "--wait", "1")
    assert done.returncode == 0, done.stdout


def test_events_that_retention_has_deleted_are_not_missed(kept, orders):
    def retention(*statements: str) -> None:
        with psycopg.connect(kept.database_url(), options="-c search_path=order_svc") as connection:
            for statement in statements:
                connection.execute(statement.encode())

    retention(
        "CREATE TABLE deleted_events AS SELECT * FROM events_event",
        "DELETE FROM events_event",
        "INSERT INTO events_feedstart (id, epoch, txid, sequence, time) OVERRIDING SYSTEM VALUE "
        "VALUES (1, 1, 9, 9, now()) ON CONFLICT (id) DO UPDATE SET txid = 9",
    )
    try:
        done = kept.run("verify", "--wait", "1")
        assert done.returncode == 0, done.stdout
    finally:
        retention(
            "INSERT INTO events_event OVERRIDING SYSTEM VALUE SELECT * FROM deleted_events",
            "DROP TABLE deleted_events",
            "UPDATE events_feedstart SET txid = 0",
        )


LOSE_RESERVATION = (
    "UPDATE product_svc.product_svc_product SET stock = stock + 2 WHERE id = {product}",
    "DELETE FROM product_svc.product_svc_stockmovement WHERE order_id = {order}",
    "DELETE FROM product_svc.product_svc_reservationline WHERE reservation_id = {order}",
    "DELETE FROM product_svc.product_svc_stockreservation WHERE order_id = {order}",
)
"""As if product-service had lost its latest transaction."""


def unheld(stack: Stack, orders: dict[str, str]) -> str:
    shop = Shop(stack)
    body = {"userId": orders["user"], "productId": orders["product"], "quantity": 2}
    order: str = shop.made(ORDER, "/api/orders", **body)["id"]
    tamper(stack, *(text.format(order=order, product=orders["product"]) for text in LOSE_RESERVATION))
    return order


def test_repair_reserves_the_stock_of_a_confirmed_order_again(kept, orders):
    order = unheld(kept, orders)
    done = kept.run("verify", "--wait", "1", "--repair")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"order {order} is confirmed but holds no stock – has its stock again" in done.stdout
    assert Shop(kept).get(PRODUCT, f"/api/stock-reservations/{order}")["status"] == "reserved"
    assert kept.run("verify").returncode == 0


@pytest.mark.nightly
def test_repair_cancels_with_a_message_what_cannot_get_its_stock_again(kept, orders):
    shop = Shop(kept)
    order = unheld(kept, orders)
    assert shop.ask("DELETE", PRODUCT, f"/api/stock-reservations/{order}").status_code == 204  # a tombstone
    done = kept.run("verify", "--wait", "1", "--repair")
    assert (
        f"order {order} is confirmed but holds no stock – could not get its stock again: it is cancelled" in done.stdout
    )

    def told() -> bool:
        notes = shop.get(NOTIFICATION, f"/api/notifications/{orders['user']}")["results"]
        return any(n["type"] == "order_cancelled" and order in n["subject"] and n["status"] == "sent" for n in notes)

    eventually("the customer is told", told)
    for delta in (1, -1):  # an event with the stock that `LOSE_RESERVATION` has changed without one
        shop.made(PRODUCT, f"/api/products/{orders['product']}/stock-adjustments", delta=delta)
    verified = kept.run("verify")
    assert verified.returncode == 0, verified.stdout


@pytest.mark.nightly
def test_repair_retries_what_recovery_gave_up(kept, orders):
    tamper(
        kept,
        "INSERT INTO order_svc.platform_core_faileditem (duty, item, attempts, error, failed_at, retry_at, parked_at) "
        "VALUES ('recovery', '17', 10, 'IntegrityError: no', now(), now(), now())",
    )
    try:
        assert "order_svc recovery 17 was given up after 10 attempts: IntegrityError: no" in (
            kept.run("verify", "--wait", "1").stdout
        )
        done = kept.run("verify", "--wait", "1", "--repair")
        assert done.returncode == 0, done.stdout
        assert "will be tried again" in done.stdout
        assert kept.run("verify", "--wait", "1").returncode == 0
    finally:
        tamper(kept, "DELETE FROM order_svc.platform_core_faileditem")
