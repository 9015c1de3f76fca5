"""The context of the bar that is on every page."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.urls import reverse

from platform_core.http.links import link
from platform_core.office.finding import MOST_CHARACTERS
from platform_core.office.services_health import known_states
from platform_core.office.viewer import Viewer, viewer_of
from platform_core.topology import ANALYTICS, Service

STATUS_TEXTS = {"ok": "up", "down": "down", "unknown": "not known"}


@dataclass(frozen=True, slots=True)
class ServiceLink:
    """A service in the bar. ``status`` is ``ok``, ``down`` or ``unknown``."""

    service: Service
    url: str
    status: str

    @property
    def is_here(self) -> bool:
        """Whether this is the service that shows the page."""
        return self.service is settings.SERVICE

    @property
    def status_text(self) -> str:
        """The status in words."""
        return STATUS_TEXTS[self.status]


def bar_context(request: Any, *, is_failing: bool = False) -> dict[str, Any]:
    """What the bar shows. Asks no service and, if ``is_failing``, not the database either."""
    if request is None:
        return {"is_shown": False}
    viewer = Viewer() if is_failing else viewer_of(request)
    states = known_states()
    has_figures = bool(viewer.roles)
    return {
        "is_shown": True,
        "request": request,
        "viewer": viewer,
        "services": [ServiceLink(s, link(s, "/admin/", request), states[s.name]) for s in viewer.services],
        "here": settings.SERVICE,
        "dashboard": link(ANALYTICS, "/", request) if has_figures and not viewer.is_local else "",
        "is_admin": request.path.startswith("/admin/"),
        "is_dashboard": settings.SERVICE is ANALYTICS and request.path == "/",
        "may_find": has_figures,
        "most_characters": MOST_CHARACTERS,
        "query": request.GET.get("q", "") if request.path == "/find" else "",
        "sign_in": reverse("admin:login"),
        "sign_out": reverse("admin:logout"),
    }


def services_for(request: Any) -> dict[str, Any]:
    """For somebody who has no page in this service's admin: where they have some."""
    viewer = viewer_of(request)
    return {
        "here": settings.SERVICE,
        "roles": sorted(role.value for role in viewer.roles),
        "links": [(s, link(s, "/admin/", request)) for s in viewer.services if s is not settings.SERVICE],
        "dashboard": link(ANALYTICS, "/", request) if viewer.roles else "",
    }
