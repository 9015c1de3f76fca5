"""Only the model and the serializer name a product's fields. Everything else is derived from them."""

import json

import pytest

from platform_core.api.json import encode
from platform_core.events.models import Event
from product_svc import events, files
from product_svc.models import Product
from product_svc.serializers import ProductSerializer
from product_svc.services import snapshot

FIELDS = ProductSerializer().fields


def test_the_api_accepts_the_editable_fields_of_the_model():
    """A field that only the service itself may write is ``editable=False``."""
    taken = {field.source for field in FIELDS.values() if not field.read_only}
    assert taken == {f.attname for f in Product._meta.concrete_fields if f.editable and not f.primary_key}


def test_events_name_fields_as_the_api_does():
    assert set(events.FIELDS) - {"version"} <= set(FIELDS)
    assert all(FIELDS[name].source == field.attname for name, field in events.FIELDS.items() if name != "version")
    assert set(FIELDS) - set(events.FIELDS) == {"id", "updatedAt", "currency"} | events.LEFT_OUT


def test_files_have_all_that_can_be_written_and_the_old_columns_first():
    assert files.COLUMNS[:7] == ("id", "sku", "name", "price", "stock", "category", "description")
    assert set(files.FIELDS) == {name for name, field in FIELDS.items() if not field.read_only}
    assert files.REQUIRED == ("name", "price")


def as_json(product: Product) -> dict:
    return json.loads(encode(snapshot(product)))


@pytest.mark.django_db
def test_an_event_that_a_statement_builds_shows_what_the_others_show(api, lamp, reserve, load):
    """`RESERVE` builds its event in SQL. It must equal the snapshot of the row."""
    steps = [
        lambda: reserve(7, {lamp["id"]: 2}),
        lambda: api.delete("/api/stock-reservations/7"),
        lambda: api.post(f"/api/products/{lamp['id']}/stock-adjustments", {"delta": 1}),
        lambda: load("sku,name,price,stock\nL-1,Lamp,12.5,9\n"),
    ]
    for step in steps:
        step()
        shown = dict(Event.objects.latest("id").data)
        expected = as_json(Product.objects.get())
        assert shown.keys() - expected.keys() <= {"delta", "reason", "orderId"}
        for name, value in expected.items():
            assert shown[name] == value, name
            assert type(shown[name]) is type(value), name
