"""The admin of analytics-service: figures are made from the feeds alone, and may be looked at."""

import pytest
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Group
from django.urls import reverse

from analytics_svc.models import DailyFigure, Fact, FeedPosition, Figure, ProductFigure
from platform_core.models import IdempotencyKey

pytestmark = pytest.mark.django_db
MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)
READ_ONLY = [DailyFigure, Fact, FeedPosition, Figure, ProductFigure]


def url(model, page, *args):
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=[quote(a) for a in args])


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
    page = url(model, "changelist")
    for query in ("", "?q=1", "?q=orders", "?q=%00", "?q=" + "9" * 30, "?o=1", "?o=-1.2", "?p=1"):
        assert admin_client.get(page + query, follow=True).status_code == 200, query
    listed = admin_client.get(page).context["cl"]
    for choice in [choice for spec in listed.filter_specs for choice in spec.choices(listed)]:
        assert admin_client.get(page + choice.get("query_string", "")).status_code == 200
    assert model._default_manager.exists()
    for row in model._default_manager.all()[:2]:
        assert admin_client.get(url(model, "change", row.pk)).status_code == 200


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
