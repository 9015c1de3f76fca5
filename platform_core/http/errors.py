"""The tree of errors that the services raise. `platform_core.http.problems` turns each into problem+json (RFC 9457)."""

import math
from http import HTTPStatus
from typing import Any

FieldError = dict[str, Any]
"""``{"field": "items[0].quantity", "code": "min_value", "detail": "…"}``, and further members for programs."""
UNKNOWN_PATH = "/problems/unknown-path"
UNKNOWN_HOST = "unknown_host"
"""The code of an error of the Host header: ALLOWED_HOSTS does not have it."""
"""The ``type`` of the problem of a path without a route."""
_PHRASES = {413: "Content Too Large", 414: "URI Too Long", 422: "Unprocessable Content"}
"""Reason phrases of RFC 9110. Python has older ones before 3.13."""


def phrase(status: int) -> str:
    """The reason phrase of a status, the same in every version of Python."""
    return _PHRASES.get(status) or HTTPStatus(status).phrase


class PlatformError(Exception):
    """Base of all errors. ``status``, ``code`` and ``detail`` are sent to the client."""

    status = 500
    code = "internal_error"
    detail = "Something went wrong on our side."

    type = "about:blank"
    """A URI for this kind of problem (RFC 9457); `about:blank` if the status and the code say everything."""

    def __init__(
        self,
        detail: str | None = None,
        *,
        code: str | None = None,
        errors: list[FieldError] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.detail = detail or self.detail
        self.code = code or self.code
        self.errors = errors or []
        self.headers = headers or {}
        super().__init__(self.detail)


class InvalidInput(PlatformError):
    """400: the request is malformed or a value is out of bounds."""

    status = 400
    code = "invalid"
    detail = "The request is not valid."

    @classmethod
    def field(cls, field: str, detail: str, code: str = "invalid") -> "InvalidInput":
        """An error of one field or parameter."""
        return cls(f"{field}: {detail}", errors=[{"field": field, "code": code, "detail": detail}])


class NotAuthenticated(PlatformError):
    """401: the token is missing or invalid. ``error`` is RFC 6750's code for an invalid token."""

    status = 401
    code = "not_authenticated"
    detail = "This needs a sign-in: send an access token as `Authorization: Bearer …`."

    def __init__(self, detail: str | None = None, *, error: str = "", **kwargs: Any) -> None:
        super().__init__(detail, **kwargs)
        self.headers.setdefault("WWW-Authenticate", challenge(error))


def challenge(error: str = "") -> str:
    """The value of WWW-Authenticate (RFC 6750, section 3)."""
    return 'Bearer realm="platform"' + (f', error="{error}"' if error else "")


class Forbidden(PlatformError):
    """403: the caller is not allowed to do this."""

    status = 403
    code = "permission_denied"
    detail = "You may not do this."


class NotFound(PlatformError):
    """404: the resource does not exist, or belongs to another customer."""

    status = 404
    code = "not_found"
    detail = "There is no such resource."


class UnknownPath(NotFound):
    """404: the service has no such route. Callers can tell it from a resource that does not exist."""

    type = UNKNOWN_PATH


class Conflict(PlatformError):
    """409: the current state forbids the request. The same request may succeed later."""

    status = 409
    code = "conflict"
    detail = "The request conflicts with the present state."


class Gone(PlatformError):
    """410: the resource existed, and has been deleted for good."""

    status = 410
    code = "gone"
    detail = "This is not kept any more."


class PreconditionFailed(PlatformError):
    """412: the state of the resource is not the one that If-Match or If-None-Match allows."""

    status = 412
    code = "precondition_failed"
    detail = "The resource has changed since the version that If-Match names."


class TooLarge(PlatformError):
    """413: the body is too large."""

    status = 413
    code = "too_large"
    detail = "The request body is larger than 1 MiB."


class Unprocessable(PlatformError):
    """422: the request is well-formed, but refers to something that does not exist, or contradicts itself."""

    status = 422
    code = "unprocessable"
    detail = "The request cannot be carried out."


class Throttled(PlatformError):
    """429: too many attempts. ``seconds`` is the time after which a retry may succeed; the header has at least 1."""

    status = 429
    code = "throttled"

    def __init__(self, seconds: float) -> None:
        wait = max(1, math.ceil(seconds))
        super().__init__(f"Too many attempts: try again in {wait} seconds.", headers={"Retry-After": str(wait)})


class Unavailable(PlatformError):
    """503: a dependency does not answer. Nothing was stored; a retry with the same Idempotency-Key is safe."""

    status = 503
    code = "unavailable"
    detail = "A part that this request needs does not answer at the moment."

    def __init__(self, detail: str | None = None, *, retry_after: int = 1, **kwargs: Any) -> None:
        super().__init__(detail, **kwargs)
        self.headers.setdefault("Retry-After", str(retry_after))


class DeadlineExceeded(Unavailable):
    """503: the request's deadline has passed."""

    code = "deadline_exceeded"
    detail = "The request was not answered within its X-Request-Timeout."
