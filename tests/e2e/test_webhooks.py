"""Webhooks on a running platform: from a change in each service to a real receiver."""

import base64
import hashlib
import hmac
import json

import pytest

from platform_core.topology import NOTIFICATION, ORDER, PRODUCT, USER
from tests.e2e.stack import eventually
from tests.notification_svc.receivers import Receiver


@pytest.fixture
def receiver():
    server = Receiver()
    yield server
    server.close()


def test_events_of_all_services_reach_a_receiver_that_fails_at_first(shop, receiver):
    types = ["user.created", "product.created", "stock.changed", "order.confirmed", "notification.sent"]
    webhook = shop.made(NOTIFICATION, "/api/webhooks", url=receiver.url, events=types)
    receiver.status = 500
    user = shop.made(USER, "/api/users", name="Ann", email="webhooks@example.com")
    eventually("the first attempt has failed", lambda: receiver.received)
    receiver.status = 200
    product = shop.made(PRODUCT, "/api/products", name="Lamp", price=19.99, stock=10)
    order = shop.made(ORDER, "/api/orders", userId=user["id"], productId=product["id"], quantity=2)

    def arrived() -> bool:
        got = [json.loads(each.body) for each in receiver.received]
        return {each["type"] for each in got} == set(types)

    eventually("all types have arrived", arrived)
    (confirmed,) = {
        each.headers["webhook-id"]: each for each in receiver.received if b'"order.confirmed"' in each.body
    }.values()
    event = json.loads(confirmed.body)
    assert (event["source"], event["subject"], event["data"]["total"]) == ("order-service", order["id"], 39.98)
    key = base64.b64decode(webhook["secret"].removeprefix("whsec_"))
    signed = f"{confirmed.headers['webhook-id']}.{confirmed.headers['webhook-timestamp']}.".encode() + confirmed.body
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert confirmed.headers["webhook-signature"] == f"v1,{signature}"
