"""URLs of viewsets, with and without a trailing slash."""

from typing import Any

from django.conf import settings
from django.urls import re_path
from rest_framework.routers import APIRootView, DefaultRouter


class ApiRoot(APIRootView):
    """The routes without an id. `/api/docs` describes all routes with their bodies and answers."""

    def get_view_name(self) -> str:
        return str(settings.SERVICE_NAME)


class Router(DefaultRouter):
    """DRF's router with an optional trailing slash and `ApiRoot`."""

    include_format_suffixes = False
    include_root_view = False
    APIRootView = ApiRoot

    def __init__(self) -> None:
        super().__init__()
        self.trailing_slash = "/?"

    def get_urls(self) -> list[Any]:
        """The URLs, including the root. Not in an `include`, because each one adds a step to URL resolution."""
        return [*super().get_urls(), re_path(r"^api/$", self.get_api_root_view(), name=self.root_view_name)]

    def get_api_root_view(self, api_urls: Any = None) -> Any:
        """The root shows the routes without an id: lists, extra actions, and the routes that all services have."""
        routes = {}
        for prefix, viewset, basename in self.registry:
            name = prefix.removeprefix("api/")
            routes[name] = f"{basename}-list"
            actions: list[Any] = viewset.get_extra_actions()
            routes |= {f"{name}/{a.url_path}": f"{basename}-{a.url_name}" for a in actions if not a.detail}
        routes |= {name: name for name in ("events", "schema", "docs")}
        return self.APIRootView.as_view(api_root_dict=routes)
