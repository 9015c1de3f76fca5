"""The outermost middleware: request ids, deadline, body limit, the log line and the metrics."""

import logging
import math
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse

from platform_core.http import rate_limits
from platform_core.http.context import (
    DEFAULT_DEADLINE,
    MAX_DEADLINE,
    POLL,
    Context,
    accepted_request_id,
    accepted_traceparent,
    current,
    entered,
)
from platform_core.http.errors import UNKNOWN_HOST, DeadlineExceeded, InvalidInput, PlatformError, TooLarge
from platform_core.http.problems import problem_response
from platform_core.http.request_body import (
    BEGAN,
    LATE,
    LONGEST_LENGTH,
    MAX_BODY_BYTES,
    MAX_ENVELOPE_BYTES,
    MAX_UPLOAD_BYTES,
    SHORT,
    UPLOAD,
    UPLOAD_SECONDS,
)
from platform_core.observability import metrics, tracing

SERVICE_CALLER = "service:"
"""How the caller of a request with a service's token begins (`platform_core.auth.identity`)."""
log = logging.getLogger("platform.request")
_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,9})?", re.ASCII)
NOT_STORED = "no-store"
"""Answers depend on the caller, unless a view says otherwise."""
REVALIDATED = "private, no-cache"
"""For answers with an ETag: the caller's own cache may keep them, and asks before each use."""
_ANY_HOST = ("/health", "/metrics")
"""Asked for by address: by Kubernetes and Prometheus. These answers name no host."""
_QUIET = ("/health", "/metrics", "/static/")
_HOSTS = 100
_UNTRACED = nullcontext(tracing.Span())


class RequestMiddleware:
    """Must be the outermost middleware. It refuses requests in ``process_view``, so that errors get CORS headers."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.hosts: set[str | None] = set()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        began = time.perf_counter()
        meta = request.META
        if not meta.get("HTTP_ACCEPT", "*/*").strip():
            meta["HTTP_ACCEPT"] = "*/*"  # an empty header asks for nothing in particular
        ctx = Context(
            request_id=accepted_request_id(meta.get("HTTP_X_REQUEST_ID")),
            traceparent=accepted_traceparent(meta.get("HTTP_TRACEPARENT")),
            deadline=meta[BEGAN] + UPLOAD_SECONDS
            if UPLOAD in meta
            else deadline_of(meta.get(BEGAN), meta.get("HTTP_X_REQUEST_TIMEOUT")),
            is_poll=meta.get("HTTP_X_PURPOSE") == POLL,
            allowances={},
        )
        with entered(ctx), self.traced(request) as span:
            response = self.get_response(request)
            response.headers["X-Request-ID"] = ctx.request_id
            if ctx.allowances:
                for name, value in rate_limits.headers(ctx.allowances.values()).items():
                    response.headers[name] = value
            response.headers.setdefault("Cache-Control", NOT_STORED if "ETag" not in response.headers else REVALIDATED)
            if not response.streaming:
                if not response.has_header("Content-Length"):
                    response.headers["Content-Length"] = str(len(response.content))
                if request.method == "HEAD":
                    response.content = b""
            self.record(request, response, time.perf_counter() - began, span)
        return response

    def traced(self, request: HttpRequest) -> AbstractContextManager[tracing.Span]:
        """The request's span, a child of the caller's. Requests for health and metrics get none."""
        if not tracing.is_on() or request.path.startswith(_QUIET):
            return _UNTRACED
        attributes = {"http.request.method": request.method or "", "url.path": request.path}
        return tracing.span(metrics.known(request.method), "server", request.headers.get("traceparent", ""), attributes)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        """The answer to a malformed request; None for any other."""
        try:
            self.refuse_malformed(request)
        except PlatformError as error:
            return problem_response(error, request if UPLOAD in request.META else None)
        return None

    def refuse_malformed(self, request: HttpRequest) -> None:
        """Check the headers, and whether the whole body has arrived.

        Raises InvalidInput, DeadlineExceeded, TooLarge.
        """
        meta = request.META
        if requested_timeout(meta.get("HTTP_X_REQUEST_TIMEOUT")) is None:
            raise InvalidInput.field(
                "X-Request-Timeout", f"Expected seconds, more than 0 and at most {MAX_DEADLINE:g}, such as 2.5."
            )
        if meta.get(LATE):
            raise DeadlineExceeded("The request's body did not arrive in time.")
        if meta.get(SHORT):
            raise InvalidInput.field("Content-Length", "The body ended before it was that long.")
        self.check_host(request)
        check_length(meta)

    def check_host(self, request: HttpRequest) -> None:
        """Raises InvalidInput. Caches up to 100 allowed hosts, because Django's check costs 4 % of a read."""
        host = request.META.get("HTTP_HOST")
        # Django's test client sends no Host header; what a server has taken in carries the time of its arrival.
        if host is None and BEGAN in request.META and request.META.get("SERVER_PROTOCOL") == "HTTP/1.1":
            raise InvalidInput.field("Host", "HTTP/1.1 needs this header.")
        if request.path.startswith(_ANY_HOST):
            return
        if settings.USE_X_FORWARDED_HOST or host not in self.hosts:
            try:
                request.get_host()
            except DisallowedHost:
                raise InvalidInput.field("Host", "The service does not serve this host name.", UNKNOWN_HOST) from None
            if len(self.hosts) < _HOSTS:
                self.hosts.add(host)

    def record(self, request: HttpRequest, response: HttpResponse, seconds: float, span: tracing.Span) -> None:
        """Record a finished request in the metrics, in its span and in the log."""
        route = readable(request.resolver_match.route) if request.resolver_match else "unknown"
        metrics.observe_request(request.method, route, response.status_code, seconds)
        span.rename(f"{metrics.known(request.method)} {route}")
        span.note({"http.route": route, "http.response.status_code": response.status_code})
        if response.status_code >= 500:
            span.failed()
        level = logging.DEBUG if _is_quiet(request, response.status_code) else logging.INFO
        if log.isEnabledFor(level):
            data = {
                "method": request.method,
                "path": request.path,
                "route": route,
                "status": response.status_code,
                "durationMs": round(seconds * 1000, 2),
                "bytes": 0 if response.streaming else len(response.content),
                "client": request.META.get("REMOTE_ADDR", ""),
                **_callers(),
            }
            log.log(level, "request", extra={"data": data})


def check_length(meta: Mapping[str, Any]) -> None:
    """Check the length of a body. Raises InvalidInput, TooLarge."""
    length = meta.get("CONTENT_LENGTH")
    if not length:
        return
    if not (length.isascii() and length.isdigit()):
        raise InvalidInput.field("Content-Length", "Expected a whole number of bytes.")
    if UPLOAD in meta:
        if int(length) > MAX_UPLOAD_BYTES + MAX_ENVELOPE_BYTES:
            raise TooLarge(f"The file is larger than {MAX_UPLOAD_BYTES // 1024**2} MiB.")
    elif len(length) > LONGEST_LENGTH or int(length) > MAX_BODY_BYTES:
        raise TooLarge()


def _is_quiet(request: HttpRequest, status: int) -> bool:
    """Whether the request is logged at `debug`: health checks, scrapes, static files, and polls.

    A poll must succeed, and come from a service or be for a view with ``may_be_polled``. Otherwise any caller could
    hide requests from the log by a header.
    """
    if request.path.startswith(_QUIET):
        return status < 500
    if not current().is_poll or status >= 400 or request.resolver_match is None:
        return False
    if current().caller.startswith(SERVICE_CALLER):
        return True
    return bool(getattr(getattr(request.resolver_match.func, "cls", None), "may_be_polled", False))


def _callers() -> dict[str, str]:
    """The caller, and the user on whose behalf it calls, if known."""
    ctx = current()
    found = {"caller": ctx.caller, "user": ctx.user}
    return {name: value for name, value in found.items() if value}


@cache
def readable(route: str) -> str:
    """``^api/notes/(?P<pk>[0-9]+)/?$`` → ``/api/notes/{pk}``."""
    template = re.sub(r"\(\?P<(\w+)>[^)]*\)|<(?:\w+:)?(\w+)>", lambda found: f"{{{found[1] or found[2]}}}", route)
    return "/" + template.replace("^", "").replace("/?$", "").replace("$", "").replace("\\", "")


def deadline_of(began: float | None, header: str | None) -> float:
    """The deadline of a request that arrived at ``began``, in ``time.monotonic()`` seconds."""
    seconds = requested_timeout(header)
    return (time.monotonic() if began is None else began) + (DEFAULT_DEADLINE if seconds is None else seconds)


def requested_timeout(value: str | None) -> float | None:
    """The header's value in seconds; the default without a header; None if it is malformed."""
    if value is None:
        return DEFAULT_DEADLINE
    if not _SECONDS.fullmatch(value):
        return None
    seconds = float(value)
    return seconds if math.isfinite(seconds) and 0 < seconds <= MAX_DEADLINE else None
