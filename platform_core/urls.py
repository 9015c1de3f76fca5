"""The URLs of every service: its own from ``<package>.urls``, and the routes that all services have."""

from importlib import import_module

from django.conf import settings
from django.contrib import admin
from django.urls import path, re_path
from django.views.generic import RedirectView

from platform_core.api.docs import DocsView, SchemaView
from platform_core.api.views import ID
from platform_core.http.favicon import favicon
from platform_core.http.problems import safe_methods_only
from platform_core.observability import health
from platform_core.observability import metrics_endpoint as scraping
from platform_core.office.views import FindPage, FindView, ServicesView
from platform_core.privacy.views import PersonView
from platform_core.topology import USER

handler400 = "platform_core.api.problems.bad_request"
handler403 = "platform_core.api.problems.permission_denied"
handler404 = "platform_core.api.problems.not_found"
handler500 = "platform_core.api.problems.server_error"

_own = import_module(f"{settings.SERVICE.package}.urls").urlpatterns
_feed = []
if settings.SERVICE.has_feed:  # otherwise the models of the feed must not be loaded
    from platform_core.events.views import EventFeed

    _feed = [re_path(r"^api/events/?$", EventFeed.as_view(), name="events")]

_people = [] if settings.SERVICE is USER else [re_path(rf"^api/people/(?P<user_id>{ID})/?$", PersonView.as_view())]

urlpatterns = [
    *_own,
    *_feed,
    *_people,
    re_path(r"^find/?$", FindPage.as_view({"get": "show"}), name="find"),
    re_path(r"^api/find/?$", FindView.as_view()),
    re_path(r"^api/services/?$", ServicesView.as_view()),
    re_path(r"^$", RedirectView.as_view(url="/api/")),
    re_path(r"^api$", RedirectView.as_view(url="/api/")),
    re_path(r"^api/schema/?$", SchemaView.as_view(), name="schema"),
    re_path(r"^api/docs/?$", DocsView.as_view(url_name="schema"), name="docs"),
    path("favicon.ico", safe_methods_only(favicon), name="favicon"),
    re_path(r"^health/?$", health.health, name="health"),
    re_path(r"^health/live/?$", health.live, name="live"),
    re_path(r"^health/ready/?$", health.ready, name="ready"),
    re_path(r"^metrics/?$", safe_methods_only(scraping.metrics), name="metrics"),
    re_path(r"^admin$", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
]
