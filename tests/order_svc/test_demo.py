"""The demo's orders equal those that the use cases write."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from order_svc import demo
from order_svc.models import Order
from order_svc.services import addressing, cancel_order, deliver_order, ship_order, snapshot
from platform_core.api.json import encode
from platform_core.events.models import Event
from platform_core.outbox.models import OutboxMessage
from platform_core.tools.demo_data import Batch, Spec, raw
from tests.order_svc.conftest import ANN, DESK, LAMP, forget

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 6, 17, 12, tzinfo=UTC)
SPEC = Spec(seed=7, users=40, products=20, orders=300, now=NOW)


def customer(pk: int) -> dict[str, Any]:
    return {"id": pk, "name": f"Ann {pk}", "email": f"ann.{pk}@example.com", "address": f"{pk} Elm Street"}


def market() -> Iterator[Batch]:
    yield Batch("users", 40, [raw(customer(100 + number)) for number in range(40)])
    products = [{"id": 200 + n, "name": f"Thing {n}", "price": Decimal("9.99") + n} for n in range(20)]
    yield Batch("products", 20, [raw(product) for product in products])


def made(spec: Spec = SPEC) -> list[Order]:
    """Plans and writes orders without their stock and messages."""
    list(demo.keep(spec, demo.plan(spec, market())))
    return list(Order.objects.prefetch_related("lines").order_by("id"))


def events_of(order: Order) -> list[Event]:
    return list(Event.objects.filter(subject=str(order.pk)).order_by("id"))


def test_totals_are_right_and_orders_match_their_last_events():
    orders = made()
    assert len(orders) == 300
    for order in orders:
        lines = list(order.lines.all())
        events = events_of(order)
        assert [event.data["version"] for event in events] == list(range(2, order.version + 1))
        assert events[-1].type == f"order.{order.status}"
        assert order.created_at < events[-1].time == order.updated_at < NOW
        if order.status == "rejected":
            continue
        assert all(line.subtotal == line.unit_price * line.quantity for line in lines)
        assert order.total == sum(line.subtotal for line in lines)
        assert events[-1].data == json.loads(encode(snapshot(order, lines)))
        assert order.created_at < order.confirmed_at <= order.updated_at


def test_orders_have_the_customer_of_their_user_unless_they_were_rejected():
    for order in made():
        expected = customer(order.user_id) if order.status != "rejected" else dict.fromkeys(customer(0))
        found = (order.customer_name, order.customer_email, order.customer_address)
        assert found == (expected["name"], expected["email"], expected["address"])


def test_the_messages_of_an_order_are_addressed_as_order_service_would_address_them():
    spec = msgspec.structs.replace(SPEC, orders=100)
    rows = []
    for batch in demo.plan(spec, market()):
        rows += batch.rows
        list(demo.keep(spec, iter([batch])))
    for row in rows:
        sale = msgspec.json.decode(row)
        assert json.loads(encode(addressing(sale["id"]))) == sale["mail"]
    assert not OutboxMessage.objects.filter(payload__icontains="@example.com").exists()


def test_the_orders_are_of_all_kinds_spread_over_the_weeks_and_the_popular_sells_best():
    orders = made()
    statuses = [order.status for order in orders]
    assert statuses.count("delivered") > 200
    assert all(statuses.count(status) > 2 for status in ("confirmed", "shipped", "cancelled", "rejected"))
    assert statuses.count("rejected") < 20
    days = {order.created_at.date() for order in orders}
    assert len(days) > 35
    assert max(days) == NOW.date()
    assert [order.created_at for order in orders] == sorted(order.created_at for order in orders)
    sold = [line.product_id for order in orders for line in order.lines.all()]
    assert sold.count(200) > 3 * sold.count(219)
    assert {order.user_id for order in orders} <= set(range(100, 140))


def content(orders: list[Order]) -> Any:
    return [
        (order.user_id, order.status, order.total, [(line.product_id, line.quantity) for line in order.lines.all()])
        for order in orders
    ]


def test_the_same_seed_gives_the_same_orders_on_any_day():
    first = content(made())
    Order.objects.all().delete()
    forget()
    later = msgspec.structs.replace(SPEC, now=NOW + timedelta(days=3, hours=7))
    assert content(made(later)) == first
    Order.objects.all().delete()
    forget()
    assert content(made(msgspec.structs.replace(SPEC, seed=8))) != first


def test_existing_orders_are_kept_and_missing_orders_are_created():
    part = msgspec.structs.replace(SPEC, orders=120)
    made(part)
    assert len(made(part)) == 120
    assert len(made()) == 300
    assert len({order.idempotency_key for order in Order.objects.all()}) == 300
    assert len(made(msgspec.structs.replace(SPEC, seed=70, orders=10))) == 310


def test_a_demo_order_leaves_the_same_rows_as_a_real_one(neighbours, place):
    real = {}
    for status in ("delivered", "cancelled"):
        items = [{"productId": LAMP, "quantity": 2}, {"productId": DESK, "quantity": 1}]
        real[status] = int(place({"userId": ANN, "items": items}).json()["id"])
    ship_order(real["delivered"])
    deliver_order(real["delivered"])
    cancel_order(real["cancelled"])
    neighbours.stock = {LAMP: 1}
    assert place().status_code == 409
    real["rejected"] = Order.objects.get(status="rejected").pk
    orders = {order.status: order for order in made() if order.user_id != ANN}
    for status, pk in real.items():
        assert left_by(orders[status].pk) == left_by(pk)
        assert shape_of(orders[status]) == shape_of(Order.objects.get(pk=pk))


def shape_of(order: Order) -> Any:
    """Which columns of an order and its lines are set, the members of its refusal, and its recorded transitions."""
    columns = ("reason", "confirmed_at", "total", "customer_name", "customer_email", "customer_address")
    refusal = order.refusal and {**order.refusal, "errors": [error.keys() for error in order.refusal["errors"]]}
    priced = {line.name is not None and None not in (line.unit_price, line.subtotal) for line in order.lines.all()}
    became = [row.status for row in order.transitions.all()]
    return [bool(getattr(order, column)) for column in columns], {**(refusal or {}), "detail": ""}, priced, became


def left_by(pk: int) -> Any:
    """Compares types and shapes of the events, and keys and shapes of the messages, of one order."""
    events = [
        (e.type, e.data.keys(), e.data["status"], e.data.get("reason"))
        for e in Event.objects.filter(subject=pk).order_by("id")
    ]
    messages = OutboxMessage.objects.filter(aggregate=f"order:{pk}").order_by("id")
    return events, [
        (m.kind, m.destination, m.key.replace(str(pk), "N"), m.payload.keys(), m.payload.get("type")) for m in messages
    ]


def test_no_message_is_left_to_be_sent():
    made()
    assert OutboxMessage.objects.count() > 300
    assert set(OutboxMessage.objects.values_list("state", flat=True)) == {"delivered"}
