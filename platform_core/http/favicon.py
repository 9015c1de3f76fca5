"""`/favicon.ico`, which browsers request of every port that they show."""

from functools import cache
from importlib.resources import files

from django.http import HttpRequest, HttpResponse


def favicon(request: HttpRequest) -> HttpResponse:
    """The icon, as SVG. Caches may keep it for a day."""
    return HttpResponse(_icon(), content_type="image/svg+xml", headers={"Cache-Control": "public, max-age=86400"})


@cache
def _icon() -> bytes:
    return (files("platform_core") / "static/platform_core/icon.svg").read_bytes()
