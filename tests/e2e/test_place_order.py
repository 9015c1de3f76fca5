"""Orders across the running services."""

from concurrent.futures import ThreadPoolExecutor

import psycopg

from platform_core.topology import ANALYTICS, NOTIFICATION, ORDER, PRODUCT
from tests.e2e.stack import Shop, eventually


def test_concurrent_orders_for_the_last_pieces_never_oversell(stack, shop, user):
    product = shop.made(PRODUCT, "/api/products", name="Last ones", price=5, stock=50)
    body = {"userId": user["id"], "productId": product["id"], "quantity": 1}
    clients = [Shop(stack) for _ in range(16)]

    def order(number: int) -> int:
        """As a careful client: after a 503 it sends the order again under its key."""
        headers = {"Idempotency-Key": f"last-pieces-{number}"}
        for _ in range(5):
            answer = clients[number % 16].ask("POST", ORDER, "/api/orders", json=body, headers=headers)
            if answer.status_code != 503:
                break
        return answer.status_code

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(order, range(200)))
    assert {status: statuses.count(status) for status in set(statuses)} == {201: 50, 409: 150}
    assert shop.get(PRODUCT, f"/api/products/{product['id']}")["stock"] == 0
    moved = shop.get(PRODUCT, f"/api/products/{product['id']}/stock-adjustments?limit=200")["results"]
    assert sum(movement["delta"] for movement in moved) == 0


def test_a_product_that_is_held_costs_its_buyers_a_503_in_time_and_nothing_is_sold_twice(stack, shop, user, product):
    """A long transaction holds the row of the product. Five seconds are the deadline of a request."""
    body = {"userId": user["id"], "productId": product["id"], "quantity": 1}

    def order(number: int, client: Shop):
        headers = {"Idempotency-Key": f"held-{product['id']}-{number}"}
        return client.ask("POST", ORDER, "/api/orders", json=body, headers=headers)

    clients = [Shop(stack) for _ in range(6)]
    with psycopg.connect(stack.database_url()) as other:
        other.execute("SELECT FROM product_svc.product_svc_product WHERE id = %s FOR UPDATE", [product["id"]])
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(order, range(6), clients))
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.text
        assert answer.headers["Retry-After"] == "1"
    assert max(answer.elapsed.total_seconds() for answer in answers[:3]) < 5

    def placed(number: int) -> bool:
        return order(number, clients[number]).status_code == 201

    for number in range(6):
        eventually("the order is placed", lambda number=number: placed(number))
    left = lambda: shop.get(PRODUCT, f"/api/products/{product['id']}")["stock"]  # noqa: E731
    eventually("what the refused ones may have taken is back", lambda: left() == 4)
    moved = shop.get(PRODUCT, f"/api/products/{product['id']}/stock-adjustments?limit=200")["results"]
    assert sum(movement["delta"] for movement in moved) == 4


def test_cancelling_an_order_releases_its_stock_and_notifies_the_customer(shop, user, product):
    order = shop.made(ORDER, "/api/orders", userId=user["id"], productId=product["id"], quantity=3)
    assert shop.get(PRODUCT, f"/api/products/{product['id']}")["stock"] == 7
    assert shop.ask("POST", ORDER, f"/api/orders/{order['id']}/cancel").json()["status"] == "cancelled"
    eventually("the stock is back", lambda: shop.get(PRODUCT, f"/api/products/{product['id']}")["stock"] == 10)
    assert shop.get(PRODUCT, f"/api/stock-reservations/{order['id']}")["status"] == "released"

    def types():
        return {note["type"] for note in shop.get(NOTIFICATION, f"/api/notifications/{user['id']}")["results"]}

    eventually("both messages", lambda: types() == {"order_confirmed", "order_cancelled"})


def test_the_same_key_gives_one_order_however_often_it_is_sent_at_once(stack, user, product):
    body = {"userId": user["id"], "productId": product["id"], "quantity": 1}

    def order(_: int):
        return Shop(stack).ask("POST", ORDER, "/api/orders", json=body, headers={"Idempotency-Key": "at-once"})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(order, range(8)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1
    again = order(0)
    assert again.status_code == 201
    assert again.headers["Idempotent-Replayed"] == "true"
    assert Shop(stack).get(PRODUCT, f"/api/products/{product['id']}")["stock"] == 9


def test_an_answer_of_analytics_counts_every_change_that_was_committed_before_it(shop, user, product):
    for _ in range(3):
        before = shop.get(ANALYTICS, "/api/analytics/orders")
        shop.made(ORDER, "/api/orders", userId=user["id"], productId=product["id"], quantity=1)
        after = shop.get(ANALYTICS, "/api/analytics/orders")
        assert after["stale"] == []
        assert after["total"] == before["total"] + 1
        assert round(after["revenue"] - before["revenue"], 2) == 19.99


def test_one_request_id_and_one_trace_lead_through_all_services(stack, shop, user, product):
    headers = {"X-Request-ID": "follow-me", "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    body = {"userId": user["id"], "productId": product["id"], "quantity": 1}
    answer = shop.ask("POST", ORDER, "/api/orders", json=body, headers=headers)
    assert answer.headers["X-Request-ID"] == "follow-me"

    def services():
        lines = [line for line in stack.said().splitlines() if '"requestId":"follow-me"' in line]
        assert all(f'"traceId":"{"ab" * 16}"' in line for line in lines)
        return {line.split('"service":"')[1].split('"')[0] for line in lines}

    everybody = {"order-service", "user-service", "product-service", "notification-service"}
    eventually("a log line of each", lambda: services() >= everybody)
