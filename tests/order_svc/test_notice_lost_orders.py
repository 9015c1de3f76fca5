"""order-service takes no orders after its database has lost some."""

import json
import re

import pytest
from django.db import connection
from django.db.backends.signals import connection_created

from order_svc import history as orders
from order_svc.models import Order
from platform_core.events import history
from platform_core.events.models import FeedConsumer, ServerHistory
from tests.order_svc.conftest import problem
from tests.wire import assert_problem, statements_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch, looked_at_the_server):
    """This process has seen nothing yet."""
    monkeypatch.setattr(history._Known, "server", None)
    monkeypatch.setattr(history._Known, "looked_at", float("-inf"))
    monkeypatch.setattr(history._Known, "may_look", None)
    monkeypatch.setattr(history, "LOOK_EVERY", 0.0)
    monkeypatch.setattr(orders._Acknowledged, "order_id", 0)


@pytest.fixture
def reserved(peers, settings):
    """The order ids for which product-service has reservations. A test changes it."""
    ids: list[int] = []
    url = settings.PEER_URLS["product-service"]

    def newest(request):
        return 200, {}, json.dumps({"orderId": str(max(ids)) if ids else None})

    peers.add_callback("GET", re.compile(re.escape(url) + r"/api/stock-reservations/newest$"), callback=newest)
    return ids


def promote(**changes):
    """As if the stored database were another one than that of the connection."""
    ServerHistory.objects.update(**(changes or {"timeline": 77}))


def test_what_the_database_is_is_noted_at_the_first_order(place):
    assert place().status_code == 201
    noted = ServerHistory.objects.get()
    assert noted.system_identifier.isdigit()
    assert noted.timeline == 1
    assert not noted.lost


@pytest.mark.parametrize("change", [{"timeline": 77}, {"system_identifier": "1"}, {"table_oid": 1}])
def test_a_switchover_that_lost_nothing_is_recorded_and_nobody_is_alarmed(place, reserved, client, change, caplog):
    reserved.append(int(place().json()["id"]))
    before = ServerHistory.objects.values().get()
    promote(**change)
    assert place().status_code == 201
    after = ServerHistory.objects.values().get()
    assert {**after, "noted_at": None} == {**before, "noted_at": None}
    assert client.get("/health").json()["checks"]["history"] == {"status": "ok"}
    assert "history.server_changed" in [record.message for record in caplog.records]


def test_no_orders_are_taken_when_product_service_knows_a_later_one(place, reserved, client, caplog):
    made = int(place(key="k-1").json()["id"])
    reserved.append(made + 25)
    promote()
    before = Order.objects.count()
    answer = place()
    assert_problem(answer, 503, "unavailable")
    detail = answer.json()["detail"]
    assert f"product-service knows order {made + 25}, and the newest one here is {made}" in detail
    assert "manage.py new_epoch" in detail
    assert answer["Retry-After"] == "60"
    assert Order.objects.count() == before
    assert_problem(place(), 503, "unavailable")  # also when nobody asks product-service again
    assert place(key="k-1").status_code == 201, "what is there is still answered"
    reported = client.get("/health").json()
    assert reported["status"] == "ok"
    assert reported["checks"]["history"]["status"] == "down"
    assert "new_epoch" in reported["checks"]["history"]["detail"]
    assert b"database_history_lost 1.0" in client.get("/metrics").content
    assert client.get("/health/ready").status_code == 200
    assert "history.lost" in [record.message for record in caplog.records]


@pytest.mark.parametrize("status", ["missing", "pending"])
def test_an_order_that_this_process_has_confirmed_must_still_be_confirmed(place, reserved, status):
    """All services share one database, so the others have lost the same."""
    made = int(place().json()["id"])
    rows = Order.objects.filter(pk=made)
    if status == "missing":
        rows.delete()
    else:
        rows.update(status="pending", total=None, confirmed_at=None)
    promote()
    assert f"Order {made} was confirmed" in place().json()["detail"]


def test_each_process_compares_with_what_it_remembers_although_another_was_faster(place, reserved):
    made = int(place().json()["id"])
    Order.objects.filter(pk=made).delete()
    ServerHistory.objects.update(lost="")  # the other process knows of no loss, and has noted the new server
    history._Known.server = history._Known.server._replace(timeline=0)
    assert f"Order {made} was confirmed" in place().json()["detail"]


def test_positions_that_the_server_has_not_reached_are_a_loss(place, reserved):
    place()
    consumer = FeedConsumer(name="x", epoch=1, txid=10**12, sequence=5, seen_at="2026-01-01T00:00:00Z")
    consumer.save(force_insert=True)
    promote()
    assert "positions that this database server has not reached" in place().json()["detail"]


@pytest.mark.parametrize("answer", [(500, {}, "x"), problem(404, "not_found")])
def test_while_it_cannot_be_found_out_no_order_is_taken(place, peers, settings, answer, client):
    place()
    url = settings.PEER_URLS["product-service"]
    peers.add_callback(
        "GET", re.compile(re.escape(url) + r"/api/stock-reservations/newest$"), callback=lambda request: answer
    )
    promote()
    refused = place()
    assert_problem(refused, 503, "unavailable")
    assert "product-service does not answer whether orders were lost" in refused.json()["detail"]
    assert ServerHistory.objects.get().timeline == 77, "so that it is compared again"
    assert client.get("/health").json()["checks"]["history"] == {"status": "ok"}


def test_it_looks_again_after_a_while_or_on_a_new_connection_alone(place, monkeypatch):
    monkeypatch.setattr(history, "LOOK_EVERY", 3600.0)
    place()
    saga = len(statements_of(place))
    assert saga == 2
    connection_created.send(sender=type(connection), connection=connection)
    assert len(statements_of(place)) == saga + 1


def test_a_role_that_may_not_look_at_the_server_says_so(place, client, monkeypatch):
    monkeypatch.setattr(history, "_ALLOWED", "SELECT false")
    assert place().status_code == 201
    assert ServerHistory.objects.get().timeline == 0
    check = client.get("/health").json()["checks"]["history"]
    assert check["status"] == "ok"
    assert "may not call pg_control_system" in check["detail"]
