"""Turns every error into `application/problem+json` (RFC 9457), or into HTML for a browser."""

import logging
from collections.abc import Iterator
from functools import cache
from typing import Any

from django.apps import apps
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError
from django.db.models import BaseConstraint
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import Resolver404
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response

from platform_core.api.json import JSONRenderer
from platform_core.db.waiting import Unanswered
from platform_core.http.errors import (
    Conflict,
    DeadlineExceeded,
    FieldError,
    Forbidden,
    InvalidInput,
    NotFound,
    PlatformError,
    TooLarge,
    Unavailable,
    UnknownPath,
)
from platform_core.http.problems import coded, problem, problem_response

log = logging.getLogger("platform.error")


def handle(exc: Exception, ctx: dict[str, Any]) -> Response:
    """DRF's exception handler."""
    error = translated(exc)
    if isinstance(exc, exceptions.UnsupportedMediaType):
        _name_accepted(error, ctx["view"], ctx["request"])
    _log(exc, error)
    response = Response(problem(error), status=error.status, headers=error.headers)
    response.problem = True  # type: ignore[attr-defined]  # the renderer sets the media type accordingly
    _as_json(ctx["request"])
    return response


def _log(exc: Exception, error: PlatformError) -> None:
    """A bug with its traceback. A refusal with its cause: which peer, limit or lock; the client learns less."""
    if isinstance(error, Unavailable):
        cause = exc if exc is not error else exc.__cause__
        cause = cause.__cause__ or cause if isinstance(cause, DatabaseError) else cause
        text = f"{type(cause).__name__}: {cause}".strip() if cause else ""
        log.warning("unavailable", extra={"data": {"code": error.code, "detail": error.detail, "cause": text}})
    elif error.status >= 500:
        log.error("unhandled", exc_info=exc)


def _name_accepted(error: PlatformError, view: Any, request: Request) -> None:
    """Names the accepted media types in the detail, in Accept (RFC 9110), and in Accept-Post or Accept-Patch."""
    accepted = ", ".join(parser.media_type for parser in view.get_parsers())
    error.detail = f"{error.detail} Accepted are: {accepted}."
    names = {"POST": ["Accept-Post"], "PATCH": ["Accept-Patch"]}.get(request.method or "", [])
    error.headers |= dict.fromkeys(["Accept", *names], accepted)


def _as_json(request: Request) -> None:
    """Selects JSON, or HTML for a browser, even if a success would have another media type such as YAML."""
    chosen = getattr(request, "accepted_renderer", None)
    if not (chosen is None or isinstance(chosen, JSONRenderer) or chosen.media_type == "text/html"):
        request.accepted_renderer, request.accepted_media_type = JSONRenderer(), JSONRenderer.media_type


def translated(exc: Exception) -> PlatformError:  # noqa: C901  # a table
    """The `PlatformError` that corresponds to ``exc``."""
    match exc:
        case PlatformError():
            return exc
        case exceptions.ValidationError():
            errors = list(field_errors(exc.get_full_details()))
            return InvalidInput(summary(errors), errors=errors)
        case exceptions.APIException():
            return from_drf(exc)
        case Http404():
            return NotFound()
        case PermissionDenied():
            return Forbidden()
        case RequestDataTooBig():
            return TooLarge()
        case SuspiciousOperation():
            return InvalidInput("The request is malformed.")
        case IntegrityError():
            return from_constraint(exc)
        case OperationalError() | InterfaceError():
            return from_database(exc)
        case DatabaseError() if "closed" in str(exc):
            return Unavailable("The database does not answer at the moment.")
        case _:
            return PlatformError()


def from_drf(exc: exceptions.APIException) -> PlatformError:
    """The `PlatformError` for an exception of DRF."""
    headers = {}
    if wait := getattr(exc, "wait", None):
        headers["Retry-After"] = str(int(wait) + 1)
    if challenge := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    codes = {400: "invalid", 401: "not_authenticated", 404: "not_found", 415: "unsupported_media_type"}
    code = codes.get(exc.status_code) or str(exc.default_code)
    return coded(exc.status_code, code, str(exc.detail), headers)


def from_constraint(exc: IntegrityError) -> PlatformError:
    """A violated constraint with a ``violation_error_code`` becomes a 409 with that code."""
    name = getattr(getattr(exc.__cause__, "diag", None), "constraint_name", None)
    constraint = coded_constraints().get(name or "")
    if constraint is None:
        return PlatformError()
    return Conflict(str(constraint.violation_error_message), code=constraint.violation_error_code)


@cache
def coded_constraints() -> dict[str, BaseConstraint]:
    """The constraints of all models that have a ``violation_error_code``, by name."""
    return {c.name: c for model in apps.get_models() for c in model._meta.constraints if c.violation_error_code}


def from_database(exc: OperationalError | InterfaceError) -> PlatformError:
    """The 503 for a statement that exceeded its deadline or could not get its locks, or for a database that is down."""
    state = getattr(exc.__cause__, "sqlstate", None)
    if state == "57014" or isinstance(exc.__cause__, Unanswered):
        return DeadlineExceeded()
    if state in ("40P01", "40001", "55P03"):
        return Unavailable("Too many requests changed the same rows at once.")
    return Unavailable("The database does not answer at the moment.")


def field_errors(details: Any, path: str = "") -> Iterator[FieldError]:
    """Flattens DRF's nested error details: ``{"items": [{}, {"quantity": [{…}]}]}`` → ``items[1].quantity``."""
    if _is_leaf(details):
        yield {"field": path or "body", "code": details["code"], "detail": str(details["message"])}
    elif isinstance(details, dict):
        for key, value in details.items():
            if isinstance(key, int):
                yield from field_errors(value, f"{path}[{key}]")
            elif key == "non_field_errors":
                yield from field_errors(value, path)
            else:
                yield from field_errors(value, f"{path}.{key}" if path else str(key))
    elif isinstance(details, list):
        for index, value in enumerate(details):
            yield from field_errors(value, path if _is_leaf(value) else f"{path}[{index}]")


def _is_leaf(details: Any) -> bool:
    """Whether this is one error, not the errors of two fields with the names ``message`` and ``code``."""
    return isinstance(details, dict) and isinstance(details.get("message"), str)


def summary(errors: list[FieldError]) -> str:
    """One line for all field errors: the first one and the number of others."""
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{first['field']}: {first['detail']}{more}"


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's ``handler400``."""
    return problem_response(translated(exception), request)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's ``handler403``."""
    return problem_response(translated(PermissionDenied()), request)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's ``handler404``."""
    kind = UnknownPath if isinstance(exception, Resolver404) else NotFound
    return problem_response(kind(f"There is nothing at {request.path}."), request)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's ``CSRF_FAILURE_VIEW``."""
    return problem_response(Forbidden(f"Cross-site check failed: {reason}"), request)


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's ``handler500``. It is called while the exception is handled, so the exception is still known."""
    import sys

    exc = sys.exc_info()[1]
    error = translated(exc) if isinstance(exc, Exception) else PlatformError()
    if isinstance(exc, Exception):
        _log(exc, error)
    return problem_response(error, request)
