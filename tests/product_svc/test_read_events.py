"""GET /api/events of product-service."""

import pytest

from platform_core.events.models import Event
from tests.wire import feed


@pytest.mark.django_db(transaction=True)
def test_every_change_has_an_event_in_order_with_its_own_values(api, add, reserve):
    lamp = add(name="Lamp", price="49.90", stock=5, category="lights")["id"]
    url = f"/api/products/{lamp}"
    api.patch(url, {"price": "50.00"})
    api.patch(url, {"stock": 9})
    api.post(f"{url}/stock-adjustments", {"delta": -1})
    reserve(7, {lamp: 2})
    api.delete("/api/stock-reservations/7")
    api.delete(url)
    answer = feed(api)
    assert answer["Content-Type"] == "application/cloudevents-batch+json"
    events = answer.json()
    assert all(event["subject"] == lamp and event["source"] == "product-service" for event in events)
    assert [(event["type"], event["data"]["stock"]) for event in events] == [
        ("product.created", 5),
        ("product.updated", 5),
        ("product.updated", 9),
        ("stock.changed", 9),
        ("stock.changed", 8),
        ("stock.changed", 6),
        ("stock.changed", 8),
        ("product.deleted", 8),
    ]
    assert [event["data"]["delta"] for event in events if event["type"] == "stock.changed"] == [4, -1, -2, 2]
    versions = [event["data"]["version"] for event in events]
    assert versions == sorted(versions)
    assert b'"price": 49.90' in answer.content or b'"price":49.90' in answer.content


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "method, path, body, status",
    [
        ("post", "/api/products", {"name": "x", "price": -1}, 400),
        ("post", "/api/products", {"name": "x", "price": 1, "sku": "L-1"}, 409),
        ("patch", "/api/products/{id}", {"stock": 9, "sku": "B-1"}, 409),
        ("put", "/api/products/{id}", {"name": "x"}, 400),
        ("put", "/api/products/0", {"name": "x", "price": 1}, 404),
        ("delete", "/api/products/0", None, 404),
        ("post", "/api/products/{id}/stock-adjustments", {"delta": -6}, 409),
        ("post", "/api/products/{id}/stock-adjustments", {"delta": 0}, 400),
        ("put", "/api/stock-reservations/7", {"items": [{"productId": "{id}", "quantity": 6}]}, 409),
        ("put", "/api/stock-reservations/7", {"items": [{"productId": "0", "quantity": 6}]}, 422),
        ("delete", "/api/stock-reservations/7", None, 204),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
def test_a_refused_change_writes_no_event(api, add, lamp, method, path, body, status, headers):
    add(sku="B-1")
    before = Event.objects.count()
    if body and "items" in body:
        body = {"items": [{**item, "productId": item["productId"].format(**lamp)} for item in body["items"]]}
    answer = getattr(api, method)(path.format(**lamp), *([body] if body else []), headers=headers)
    assert answer.status_code == status
    assert Event.objects.count() == before
