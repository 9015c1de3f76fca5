"""The admin's sidebar and its first page: what the shop works with first, the plumbing under "System"."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest

SYSTEM = "System"


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The groups of the sidebar (unfold's ``SIDEBAR``). Lists that the user may not see are not among them."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for app in _ordered(admin.site.get_app_list(request)):
        title = app["name"] if _is_own(app) else SYSTEM
        links = [_link(model, request) for model in app["models"] if model["admin_url"]]
        groups.setdefault(title, []).extend(links)
    return [{"title": title, "separator": title == SYSTEM, "items": items} for title, items in groups.items()]


def index(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The context of the admin's first page (unfold's ``DASHBOARD_CALLBACK``), in the sidebar's order."""
    return {**context, "app_list": _ordered(context["app_list"])}


def _link(model: dict[str, Any], request: HttpRequest) -> dict[str, Any]:
    url = model["admin_url"]
    return {"title": str(model["name"]), "link": url, "active": request.path.startswith(url)}


def _ordered(apps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(apps, key=lambda app: not _is_own(app))


def _is_own(app: dict[str, Any]) -> bool:
    """Whether the app is the service's own, and not one that all services have."""
    return bool(app["app_label"] == settings.SERVICE.package)
