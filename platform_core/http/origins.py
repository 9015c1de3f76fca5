"""Development is open to everybody who can reach it, but not to the pages of other sites in the developer's browser."""

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from platform_core.http.errors import Forbidden
from platform_core.http.problems import problem_response

LOCAL_ORIGIN = r"^https?://(localhost|[a-z0-9.-]+\.localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?\Z"
"""Origins that development allows: pages that this machine serves."""
SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))


class ForeignOriginMiddleware:
    """Refuses unsafe methods from pages of other sites, in development.

    CORS alone does not: a form may be posted anywhere without a preflight. In production each request needs a token,
    which a foreign page does not have, and sessions of the admin are protected by Django's CSRF check.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.is_on = settings.PLATFORM_ENV == "development"

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if self.is_on and request.method not in SAFE_METHODS and is_foreign(request):
            origin = request.META.get("HTTP_ORIGIN") or "another site"
            detail = f"A page of {origin[:200]} may not do this. CORS_ALLOWED_ORIGINS lists the origins that may."
            return problem_response(Forbidden(detail, code="foreign_origin"), request)
        return self.get_response(request)


def is_foreign(request: HttpRequest) -> bool:
    """Whether a browser says that the page of another site sent the request. Programs send neither header."""
    origin = request.META.get("HTTP_ORIGIN")
    if origin is None:
        return request.META.get("HTTP_SEC_FETCH_SITE") == "cross-site"
    return not (_is_own(request, origin) or is_allowed(origin))


def is_allowed(origin: str) -> bool:
    """Whether the CORS settings allow the origin."""
    return bool(
        settings.CORS_ALLOW_ALL_ORIGINS
        or origin in settings.CORS_ALLOWED_ORIGINS
        or any(re.match(pattern, origin) for pattern in settings.CORS_ALLOWED_ORIGIN_REGEXES)
    )


def _is_own(request: HttpRequest, origin: str) -> bool:
    try:
        return urlsplit(origin).netloc == str(request.META.get("HTTP_HOST", ""))
    except ValueError:
        return False
