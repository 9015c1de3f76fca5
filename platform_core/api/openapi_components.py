"""The parts of the OpenAPI documents that operations refer to: problems, common headers, common errors."""

from typing import Any

from platform_core.api.health import HEALTH_SCHEMAS
from platform_core.clients.users import SIGN_IN_ROUTE
from platform_core.http.errors import phrase
from platform_core.http.problems import CONTENT_TYPE
from platform_core.http.rate_limits import HEADERS as RATE_LIMIT_HEADERS
from platform_core.topology import USER
from platform_core.vocabulary import STOCK_SHORTAGE

Schema = dict[str, Any]

_FIELD_ERROR: Schema = {
    "type": "object",
    "description": "What is wrong with one field. For a shortage of stock it includes the quantities.",
    "required": ["field", "code", "detail"],
    "properties": {
        "field": {"type": "string", "examples": ["items[0].quantity"]},
        "code": {"type": "string", "examples": ["min_value"]},
        "detail": {"type": "string"},
        **{name: {"type": kind} for name, kind in STOCK_SHORTAGE.items()},
    },
}
_PROBLEM: Schema = {
    "type": "object",
    "description": "RFC 9457.",
    "required": ["type", "title", "status", "detail", "code", "requestId"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "examples": ["about:blank"]},
        "title": {"type": "string", "examples": ["Not Found"]},
        "status": {"type": "integer", "minimum": 400, "maximum": 599, "examples": [404]},
        "detail": {"type": "string", "description": "For people."},
        "code": {"type": "string", "description": "For programs.", "examples": ["not_found"]},
        "requestId": {"type": "string", "description": "Identifies the request in the logs."},
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/FieldError"}},
    },
}
SCHEMAS: Schema = {"FieldError": _FIELD_ERROR, "Problem": _PROBLEM, **HEALTH_SCHEMAS}


def security_schemes(session_cookie: str) -> Schema:
    """The ways to authenticate. ``session_cookie`` is the name of the admin's cookie."""
    return {
        "accessToken": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": f"From `POST {SIGN_IN_ROUTE}` of {USER.name}; a service signs its own. "
            "In development, requests without a token are accepted.",
        },
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "description": "The session of this service's admin. "
            "Unsafe methods require the CSRF token as `X-CSRFToken`.",
            "name": session_cookie,
        },
    }


HEADERS: Schema = {
    "Accept": {"schema": {"type": "string"}, "description": "The media types that are accepted."},
    "Accept-Patch": {"schema": {"type": "string"}, "description": "The media types that PATCH accepts (RFC 5789)."},
    "Accept-Post": {"schema": {"type": "string"}, "description": "The media types that POST accepts."},
    "WWW-Authenticate": {"schema": {"type": "string"}, "description": "RFC 6750."},
    "ETag": {"schema": {"type": "string"}, "description": "The version of the resource."},
    "Location": {
        "schema": {"type": "string", "format": "uri-reference"},
        "description": "The URL of the new resource.",
    },
    "Idempotent-Replayed": {
        "schema": {"type": "string", "const": "true"},
        "description": "The answer to an earlier request with the same Idempotency-Key.",
    },
    "RateLimit-Policy": {
        "schema": {"type": "string"},
        "description": "A limit that the request counts under: `q` requests within `w` seconds. Only if there is one.",
    },
    "RateLimit": {
        "schema": {"type": "string"},
        "description": "What is left of it: `r` requests, until it begins again in `t` seconds.",
    },
    "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds after which a retry may succeed."},
}


def _header(name: str, description: str, **schema: Any) -> Schema:
    return {"in": "header", "name": name, "description": description, "schema": {"type": "string", **schema}}


PARAMETERS: Schema = {
    "IdempotencyKey": _header(
        "Idempotency-Key",
        "The same key with the same body gives the first answer again.",
        pattern="^[\\x20-\\x7e]{1,255}$",
    ),
    "IfMatch": _header("If-Match", "Write only while the resource has this ETag. Weak tags never match."),
    "IfAbsent": _header("If-None-Match", "`*`: write only if the resource does not exist."),
    "IfNoneMatch": _header("If-None-Match", "Answer 304 while the resource has this ETag."),
    "RequestId": _header("X-Request-ID", "Returned in the answer; identifies the request in the logs."),
    "RequestTimeout": _header(
        "X-Request-Timeout",
        "Deadline of the request in seconds; default 5, at most 30.",
        pattern=r"^(0\.[0-9]{0,2}[1-9]|([1-9]|[12][0-9])(\.[0-9]{1,3})?|30)$",
        examples=["2.5"],
    ),
}

_ERRORS = {
    304: ("NotModified", "", "If-None-Match matches the current version."),
    400: ("BadRequest", "invalid", "Malformed or out of bounds; `errors` names the fields."),
    401: ("NotAuthenticated", "not_authenticated", "The access token is missing or invalid."),
    403: ("PermissionDenied", "permission_denied", "The caller is not allowed to do this."),
    404: ("NotFound", "not_found", "There is no such resource."),
    406: (
        "NotAcceptable",
        "not_acceptable",
        "No representation matches the Accept header.",
    ),
    409: ("Conflict", "conflict", "The current state of the resource does not allow it; `code` names the rule."),
    410: ("Gone", "events_expired", "The events after this position have been deleted; `detail` says what to do."),
    412: ("PreconditionFailed", "precondition_failed", "If-Match or If-None-Match does not allow it."),
    413: ("TooLarge", "too_large", "The body is larger than 1 MiB."),
    414: ("UriTooLong", "invalid", "The address is longer than 8190 bytes."),
    415: ("UnsupportedMediaType", "unsupported_media_type", "The body is not JSON."),
    422: (
        "Unprocessable",
        "unprocessable",
        "It refers to something that does not exist, or reuses an Idempotency-Key.",
    ),
    429: ("Throttled", "throttled", "Too many requests."),
    431: ("HeadersTooLarge", "invalid", "A header is longer than 8190 bytes, or there are more than 100."),
    503: ("Unavailable", "unavailable", "A dependency did not answer in time."),
}
ERROR_REFERENCES: dict[str, Schema] = {
    str(status): {"$ref": f"#/components/responses/{name}"} for status, (name, *_) in _ERRORS.items()
}
"""By status."""


def _response(status: int, code: str, description: str) -> Schema:
    if status == 304:
        return {"description": description, "headers": {"ETag": {"$ref": "#/components/headers/ETag"}}}
    example = {
        "type": "about:blank",
        "title": phrase(status),
        "status": status,
        "detail": description.replace("`", ""),
        "code": code,
        "requestId": "5e92b1c4f0a94c51a77f3c8e2d61b0aa",
    }
    if status == 400:
        error = {"field": "name", "code": "required", "detail": "This field is required."}
        example |= {"detail": "name: This field is required.", "errors": [error]}
    content = {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}}
    names = {
        401: ["WWW-Authenticate"],
        415: ["Accept", "Accept-Patch", "Accept-Post"],
        429: ["Retry-After", *RATE_LIMIT_HEADERS],
    }
    named = names.get(status, ["Retry-After"] if status in (409, 503) else [])
    headers = {"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in named}} if named else {}
    return {"description": description, **headers, "content": content}


RESPONSES: Schema = {
    name: _response(status, code, description) for status, (name, code, description) in _ERRORS.items()
}
