"""GET /api/events of order-service."""

import pytest

from tests.order_svc.conftest import NOBODY
from tests.wire import feed

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_feed_only_has_events_of_placed_orders(api, place, neighbours):
    first, second = place().json()["id"], place().json()["id"]
    place(userId=NOBODY)
    neighbours.stock = {11: 0}
    place()
    api.post(f"/api/orders/{first}/ship")
    api.post(f"/api/orders/{second}/cancel")
    api.post(f"/api/orders/{second}/ship")
    api.post(f"/api/orders/{first}/deliver")
    events = feed(api).json()
    assert [(event["type"], event["subject"]) for event in events] == [
        ("order.confirmed", first),
        ("order.confirmed", second),
        ("order.rejected", events[2]["subject"]),
        ("order.shipped", first),
        ("order.cancelled", second),
        ("order.delivered", first),
    ]
    assert {event["source"] for event in events} == {"order-service"}


def test_an_event_has_the_sold_products_and_prices(api, placed):
    (event,) = feed(api).json()
    assert event["data"]["userId"] == "1"
    assert event["data"]["total"] == 39.98
    line = {"productId": "11", "name": "Lamp", "quantity": 2, "unitPrice": 19.99, "subtotal": 39.98}
    assert event["data"]["items"] == [line]
    assert event["data"]["createdAt"] == placed["createdAt"]


def test_the_event_of_a_rejected_order_says_what_was_wanted(api, place, neighbours):
    neighbours.stock = {11: 0}
    assert place().status_code == 409
    (event,) = feed(api).json()
    (order,) = api.get("/api/orders?status=rejected").json()["results"]
    assert (event["type"], event["subject"]) == ("order.rejected", order["id"])
    data = event["data"]
    assert (data["status"], data["version"], data["userId"], data["total"]) == ("rejected", 2, "1", None)
    assert data["createdAt"] == order["createdAt"]
    nothing = dict.fromkeys(("name", "unitPrice", "subtotal"))
    assert data["items"] == [{"productId": "11", "quantity": 2, **nothing}]
