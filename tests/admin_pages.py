"""Tests that hold for every service's admin, and helpers for the others.

A suite includes the tests with ``from tests.admin_pages import *``. It provides a fixture ``rows``, which fills the
service's own tables, and these names: ``SEARCHES`` (texts to search for), ``READ_ONLY`` (its own read-only models) and
``FORGED`` (a form that tries to change them).
"""

from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Group
from django.urls import reverse
from django.utils.timezone import now

from platform_core.events import history
from platform_core.models import FailedItem, IdempotencyKey

__all__ = [
    "common_rows",
    "pytest_generate_tests",
    "test_an_anonymous_browser_is_redirected_to_the_sign_in",
    "test_every_table_can_be_listed_searched_filtered_and_opened",
    "test_read_only_tables_cannot_be_changed",
]

MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)
_READ_ONLY = (
    "events.Event",
    "events.FeedConsumer",
    "outbox.OutboxMessage",
    "platform_core.IdempotencyKey",
    "platform_core.FailedItem",
    "events.ServerHistory",
    "jobs.Job",
)
"""Read-only models of the library."""


def pytest_generate_tests(metafunc: Any) -> None:
    read_only = [model for model in MODELS if model._meta.label in _READ_ONLY]
    for name, models in (("any_model", MODELS), ("read_only", [*metafunc.module.READ_ONLY, *read_only])):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, models, ids=lambda model: model._meta.label)


@pytest.fixture
def common_rows(api: Any) -> None:
    """Creates a row in each table that all services have."""
    IdempotencyKey.objects.create(caller="c", key="k", fingerprint=b"x", status=201, body=b"{}")
    FailedItem.objects.create(duty="d", item="1", attempts=1, error="e", failed_at=now(), retry_at=now())
    if apps.is_installed("platform_core.jobs"):
        from platform_core.jobs.models import Job

        Job.objects.create(kind="of an earlier version", by="user:7", request_id="r", traceparent="")
    if settings.SERVICE.has_feed:
        history.look()
        api.get("/api/events?lastEventId=0-0-0", headers={"Feed-Consumer": "somebody"})
    Group.objects.create(name="shop")


@pytest.mark.usefixtures("rows", "common_rows")
def test_every_table_can_be_listed_searched_filtered_and_opened(
    admin_client: Any, any_model: Any, request: pytest.FixtureRequest
) -> None:
    assert_pages_open(admin_client, any_model, *request.module.SEARCHES)
    assert_filters_work(admin_client, any_model)


@pytest.mark.usefixtures("rows", "common_rows")
def test_read_only_tables_cannot_be_changed(admin_client: Any, read_only: Any, request: pytest.FixtureRequest) -> None:
    assert_untouchable(admin_client, read_only, request.module.FORGED)


@pytest.mark.django_db
def test_an_anonymous_browser_is_redirected_to_the_sign_in(client: Any) -> None:
    for model in MODELS:
        assert client.get(url(model, "changelist")).status_code == 302


def url(model: Any, page: str, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=[quote(arg) for arg in args])


def act(client: Any, model: Any, action: str, *rows: Any) -> Any:
    """Runs an action on rows and returns the next page."""
    chosen = {"action": action, "_selected_action": [row.pk for row in rows]}
    return client.post(url(model, "changelist"), chosen, follow=True)


def done_job(client: Any) -> Any:
    """Confirms the only draft of a job, runs it, and returns it."""
    import threading

    from platform_core.jobs import Job, run_jobs

    job = Job.objects.get(state="draft")
    assert client.post(reverse("admin:jobs_job_confirm", args=[job.pk])).status_code == 302
    while run_jobs(threading.Event()):
        pass
    job.refresh_from_db()
    return job


def said(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


def assert_pages_open(client: Any, model: Any, *searches: str) -> None:
    """Opens the list with all searches, orders and pages, and the pages of its first rows."""
    page = url(model, "changelist")
    nonsense = ("%00", "9" * 30)
    for query in ("", *(f"?q={text}" for text in (*searches, *nonsense)), "?o=1", "?o=-1.2", "?p=1"):
        assert client.get(page + query, follow=True).status_code == 200, query
    assert model._default_manager.exists()
    for row in model._default_manager.all()[:2]:
        assert client.get(url(model, "change", row.pk), follow=True).status_code == 200


def assert_untouchable(client: Any, model: Any, forged: dict[str, Any]) -> None:
    """Asserts that no form adds, changes or deletes rows of the model."""
    before = list(model._default_manager.order_by("pk").values())
    row = model._default_manager.first()
    assert client.get(url(model, "add")).status_code == 403
    assert client.post(url(model, "add"), forged).status_code == 403
    assert client.post(url(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    client.post(url(model, "change", row.pk), forged)
    client.post(url(model, "changelist"), {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"})
    assert list(model._default_manager.order_by("pk").values()) == before


def _typed(field: dict[str, Any]) -> list[str]:
    """Values for a field of `platform_core.admin_filters`, good and bad."""
    return [*(value for value, _ in field.get("options", ())), "1", "2026-01-31", "a@example.com", "%00", "9" * 30]


def assert_filters_work(client: Any, model: Any) -> None:
    page = url(model, "changelist")
    listed = client.get(page).context["cl"]
    choices = [choice for spec in listed.filter_specs for choice in spec.choices(listed)]
    fields = [field for choice in choices for field in choice.get("fields", ())]
    chosen = [query for choice in choices if (query := choice.get("query_string"))]
    chosen += [f"?{field['name']}={value}" for field in fields for value in _typed(field)]
    assert chosen or not listed.filter_specs
    for query in chosen:
        assert client.get(page + query).status_code == 200, query
