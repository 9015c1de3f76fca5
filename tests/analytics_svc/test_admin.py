"""The admin of analytics-service is read-only, because the figures are derived from the feeds."""

import json
from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission, User

from analytics_svc.models import DailyFigure, Fact, FeedPosition, Figure, ParkedEvent, ProductFigure
from tests.admin_pages import *  # noqa: F403
from tests.admin_pages import act, said, url

pytestmark = pytest.mark.django_db
SEARCHES = ("1", "orders")
READ_ONLY = [DailyFigure, Fact, FeedPosition, Figure, ParkedEvent, ProductFigure]
FORGED = {"value": "5", "stock": "5", "version": "9", "last_event_id": "1-9-9", "name": "x", "state": "{}"}


@pytest.fixture
def rows(shop, report):
    """Creates a row in each of the service's own tables."""
    shop.user(1)
    shop.product(11)
    shop.order(1)
    shop.notification(1)
    shop.orders.tell("order.confirmed", 2, {})
    report("summary")


def test_a_parked_event_can_be_tried_again_and_counts_once(admin_client, shop, report):
    """The cause of the parking has been fixed."""
    shop.orders.tell("order.confirmed", 1, {})
    shop.order(2)
    assert report("orders")["total"] == 1
    parked = ParkedEvent.objects.get()
    assert said(act(admin_client, ParkedEvent, "retry", parked)) == ["1 still cannot be applied."]
    content = json.loads(parked.content)
    ParkedEvent.objects.update(content=json.dumps({**content, "data": shop.orders.events[1]["data"]}, default=float))
    assert said(act(admin_client, ParkedEvent, "retry", parked)) == ["1 are counted now."]
    assert not ParkedEvent.objects.exists()
    assert (report("orders")["total"], report("orders")["stale"]) == (2, [])


def test_a_parked_event_that_has_been_overtaken_changes_nothing(admin_client, shop, report):
    shop.order(1, "confirmed", version=2)
    shop.order(1, "shipped", version=3)
    data, shop.orders.events[0]["data"] = shop.orders.events[0]["data"], {}
    assert report("orders")["byStatus"]["shipped"] == 1
    parked = ParkedEvent.objects.get()
    content = json.loads(parked.content)
    ParkedEvent.objects.update(content=json.dumps({**content, "data": data}, default=float))
    act(admin_client, ParkedEvent, "retry", parked)
    assert report("orders")["byStatus"] == {"confirmed": 0, "cancelled": 0, "shipped": 1, "delivered": 0, "rejected": 0}


def test_read_only_staff_cannot_retry_parked_events(client, shop, report):
    shop.orders.tell("order.confirmed", 1, {})
    report("orders")
    clerk = User.objects.create_user("clerk", password="x", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_parkedevent"))
    client.force_login(clerk)
    ParkedEvent.objects.update(error="as it was")
    before = list(ParkedEvent.objects.values())
    act(client, ParkedEvent, "retry", ParkedEvent.objects.get())
    assert list(ParkedEvent.objects.values()) == before


@pytest.mark.parametrize("code, revenue", [("USD", "3,000.00 USD"), ("JPY", "3,000 JPY")])
def test_amounts_have_the_decimals_of_the_currency_and_counts_none(settings, admin_client, shop, report, code, revenue):
    settings.CURRENCY = code
    shop.order(1, items=((11, 2, Decimal(1500)),))
    report("summary")
    for model in (Figure, DailyFigure, ProductFigure):
        page = admin_client.get(url(model, "changelist")).content.decode()
        assert f">{revenue}<" in page and "1.00" not in page, model
    figure = Figure.objects.get(name="orders.revenue")
    assert revenue in admin_client.get(url(Figure, "change", figure.pk)).content.decode()
    count = Figure.objects.get(name="orders.total")
    assert "1.00" not in admin_client.get(url(Figure, "change", count.pk)).content.decode()
