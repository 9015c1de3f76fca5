"""The admin of analytics-service: figures are made from the feeds alone, and may be looked at."""

import json

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User

from analytics_svc.models import DailyFigure, Fact, FeedPosition, Figure, ParkedEvent, ProductFigure
from platform_core.models import IdempotencyKey
from tests.admin_pages import act, assert_filters_work, assert_pages_open, assert_untouchable, said, url

pytestmark = pytest.mark.django_db
MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)
READ_ONLY = [DailyFigure, Fact, FeedPosition, Figure, ParkedEvent, ProductFigure]


@pytest.fixture
def rows(shop, report):
    """A row in each of the tables."""
    shop.user(1)
    shop.product(11)
    shop.order(1)
    shop.notification(1)
    shop.orders.tell("order.confirmed", 2, {})
    report("summary")
    IdempotencyKey.objects.create(caller="c", key="k", fingerprint=b"x", status=201, body=b"{}")
    Group.objects.create(name="shop")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_every_table_can_be_listed_searched_filtered_and_opened(admin_client, rows, model):
    assert_pages_open(admin_client, model, "1", "orders")
    assert_filters_work(admin_client, model)


@pytest.mark.parametrize("model", READ_ONLY, ids=lambda model: model._meta.label)
def test_nothing_can_be_added_changed_or_deleted_by_hand(admin_client, rows, model):
    forged = {"value": "5", "stock": "5", "version": "9", "last_event_id": "1-9-9", "name": "x", "state": "{}"}
    assert_untouchable(admin_client, model, forged)


def test_a_stranger_is_sent_to_the_door(client):
    for model in MODELS:
        assert client.get(url(model, "changelist")).status_code == 302


def test_a_parked_event_can_be_tried_again_and_counts_once(admin_client, shop, report):
    """Somebody has mended what kept it from being understood."""
    shop.orders.tell("order.confirmed", 1, {})
    shop.order(2)
    assert report("orders")["total"] == 1
    parked = ParkedEvent.objects.get()
    assert said(act(admin_client, ParkedEvent, "retry", parked)) == ["1 still cannot be taken in."]
    content = json.loads(parked.content)
    ParkedEvent.objects.update(content=json.dumps({**content, "data": shop.orders.events[1]["data"]}, default=float))
    assert said(act(admin_client, ParkedEvent, "retry", parked)) == ["1 are counted now."]
    assert not ParkedEvent.objects.exists()
    assert (report("orders")["total"], report("orders")["stale"]) == (2, [])


def test_a_parked_event_that_has_been_overtaken_changes_nothing(admin_client, shop, report):
    shop.order(1, "confirmed", version=2)
    shop.order(1, "shipped", version=3)
    told, shop.orders.events[0]["data"] = shop.orders.events[0]["data"], {}
    assert report("orders")["byStatus"]["shipped"] == 1
    parked = ParkedEvent.objects.get()
    content = json.loads(parked.content)
    ParkedEvent.objects.update(content=json.dumps({**content, "data": told}, default=float))
    act(admin_client, ParkedEvent, "retry", parked)
    assert report("orders")["byStatus"] == {"confirmed": 0, "cancelled": 0, "shipped": 1, "delivered": 0}


def test_who_may_only_look_cannot_try_again(client, shop, report):
    shop.orders.tell("order.confirmed", 1, {})
    report("orders")
    clerk = User.objects.create_user("clerk", password="x", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_parkedevent"))
    client.force_login(clerk)
    ParkedEvent.objects.update(error="as it was")
    before = list(ParkedEvent.objects.values())
    act(client, ParkedEvent, "retry", ParkedEvent.objects.get())
    assert list(ParkedEvent.objects.values()) == before
