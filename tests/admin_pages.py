"""What is asked of every service's admin."""

from typing import Any

from django.contrib.admin.utils import quote
from django.urls import reverse


def url(model: Any, page: str, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=[quote(arg) for arg in args])


def act(client: Any, model: Any, action: str, *rows: Any) -> Any:
    """Run an action on rows; the page that follows."""
    chosen = {"action": action, "_selected_action": [row.pk for row in rows]}
    return client.post(url(model, "changelist"), chosen, follow=True)


def said(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


def assert_pages_open(client: Any, model: Any, *searches: str) -> None:
    """The list, however it is searched, sorted or paged, and the pages of its first rows."""
    page = url(model, "changelist")
    nonsense = ("%00", "9" * 30)
    for query in ("", *(f"?q={text}" for text in (*searches, *nonsense)), "?o=1", "?o=-1.2", "?p=1"):
        assert client.get(page + query, follow=True).status_code == 200, query
    assert model._default_manager.exists()
    for row in model._default_manager.all()[:2]:
        assert client.get(url(model, "change", row.pk)).status_code == 200


def assert_untouchable(client: Any, model: Any, forged: dict[str, Any]) -> None:
    """Rows of the model are neither added, changed nor deleted, whatever form is sent."""
    before = list(model._default_manager.order_by("pk").values())
    row = model._default_manager.first()
    assert client.get(url(model, "add")).status_code == 403
    assert client.post(url(model, "add"), forged).status_code == 403
    assert client.post(url(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    client.post(url(model, "change", row.pk), forged)
    client.post(url(model, "changelist"), {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"})
    assert list(model._default_manager.order_by("pk").values()) == before


def assert_filters_work(client: Any, model: Any) -> None:
    page = url(model, "changelist")
    listed = client.get(page).context["cl"]
    chosen = [
        query
        for spec in listed.filter_specs
        for choice in spec.choices(listed)
        if (query := choice.get("query_string"))
    ]
    assert chosen or not listed.filter_specs
    for query in chosen:
        assert client.get(page + query).status_code == 200, query
