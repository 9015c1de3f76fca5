"""Answers with an error, as `application/problem+json` (RFC 9457); browsers get a small page."""

import functools
from collections.abc import Callable
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt

from platform_core.http import context
from platform_core.http.errors import PlatformError, phrase

CONTENT_TYPE = "application/problem+json"


def problem(error: PlatformError) -> dict[str, Any]:
    """The body: ``type, title, status, detail, code, requestId`` and, where there are any, ``errors``."""
    body: dict[str, Any] = {
        "type": error.type,
        "title": phrase(error.status),
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "requestId": context.current().request_id,
    }
    if error.errors:
        body["errors"] = error.errors
    return body


def problem_response(error: PlatformError, request: HttpRequest | None = None) -> HttpResponse:
    """The answer to an error outside DRF's views: JSON, or a small page if ``request`` comes from a browser."""
    body = problem(error)
    if request is not None and "text/html" in request.headers.get("Accept", ""):
        response = render(request, "problem.html", {"problem": body}, status=error.status)
    else:
        response = HttpResponse(msgspec.json.encode(body), status=error.status, content_type=CONTENT_TYPE)
    for name, value in error.headers.items():
        response[name] = value
    return response


def coded(status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> PlatformError:
    """An error with any status, for statuses that have no class."""
    error = PlatformError(detail, code=code, headers=headers)
    error.status = status
    return error


SafeView = Callable[[HttpRequest], HttpResponse]


def safe_methods_only(view: SafeView) -> SafeView:
    """Decorates a plain Django view that only reads. Other methods than GET and HEAD get 405, before the CSRF check."""

    @csrf_exempt
    @functools.wraps(view)
    def safe(request: HttpRequest) -> HttpResponse:
        if request.method in ("GET", "HEAD"):
            return view(request)
        detail = f'Method "{request.method}" not allowed.'
        return problem_response(coded(405, "method_not_allowed", detail, {"Allow": "GET, HEAD"}), request)

    return safe
