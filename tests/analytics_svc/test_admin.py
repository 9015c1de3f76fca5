"""The admin of analytics-service: figures are made from the feeds alone, and may be looked at."""

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group

from analytics_svc.models import DailyFigure, Fact, FeedPosition, Figure, ProductFigure
from platform_core.models import IdempotencyKey
from tests.admin_pages import assert_filters_work, assert_pages_open, url

pytestmark = pytest.mark.django_db
MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)
READ_ONLY = [DailyFigure, Fact, FeedPosition, Figure, ProductFigure]


@pytest.fixture
def rows(shop, report):
    """A row in each of the tables."""
    shop.user(1)
    shop.product(11)
    shop.order(1)
    shop.notification(1)
    report("summary")
    IdempotencyKey.objects.create(caller="c", key="k", fingerprint=b"x", status=201, body=b"{}")
    Group.objects.create(name="shop")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_every_table_can_be_listed_searched_filtered_and_opened(admin_client, rows, model):
    assert_pages_open(admin_client, model, "1", "orders")
    assert_filters_work(admin_client, model)


@pytest.mark.parametrize("model", READ_ONLY, ids=lambda model: model._meta.label)
def test_nothing_can_be_added_changed_or_deleted_by_hand(admin_client, rows, model):
    before = list(model.objects.order_by("pk").values())
    row = model.objects.first()
    forged = {"value": "5", "stock": "5", "version": "9", "last_event_id": "1-9-9", "name": "x", "state": "{}"}
    assert admin_client.post(url(model, "add"), forged).status_code == 403
    assert admin_client.post(url(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    admin_client.post(url(model, "change", row.pk), forged)
    chosen = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    admin_client.post(url(model, "changelist"), chosen)
    assert list(model.objects.order_by("pk").values()) == before


def test_a_stranger_is_sent_to_the_door(client):
    for model in MODELS:
        assert client.get(url(model, "changelist")).status_code == 302
