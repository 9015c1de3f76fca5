"""OpenAPI: what holds for every operation is said once, here."""

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from django.conf import settings
from drf_spectacular.openapi import AutoSchema as SpectacularSchema
from drf_spectacular.plumbing import append_meta
from rest_framework import serializers
from rest_framework.viewsets import ViewSetMixin

from platform_core.api.fields import MAX_ID, IdField, MoneyField, OptionalStringField, StringField, WholeField
from platform_core.api.health import HEALTH_PATHS, HEALTH_SCHEMAS
from platform_core.api.problems import CONTENT_TYPE
from platform_core.api.queries import Query
from platform_core.auth.access import bare
from platform_core.auth.rules import Rule, rule_for
from platform_core.errors import phrase

Schema = dict[str, Any]

_ID: Schema = {"type": "string", "pattern": "^[0-9]{1,19}$", "examples": ["1"]}
_OPERATIONS = {
    "list": "list{}s",
    "by_user": "list{}sByUser",
    "create": "create{}",
    "retrieve": "get{}",
    "update": "replace{}",
    "partial_update": "update{}",
    "destroy": "delete{}",
}
_PLACES = ("path", "query", "header")


class AutoSchema(SpectacularSchema):
    """Adds the common headers, the query's parameters and the error answers to what the view says."""

    def get_operation_id(self) -> str:
        action = getattr(self.view, "action", None)
        if not isinstance(self.view, ViewSetMixin) or not action:
            return str(super().get_operation_id())
        noun = type(self.view).__name__.removesuffix("ViewSet")
        verb = "get{}" + _title(action) if self.method == "GET" else action + "{}"
        return _OPERATIONS.get(action, verb).format(noun)

    def get_summary(self) -> str:
        """The description's first sentence."""
        sentence = re.split(r"\.(?:\s|$)", self.get_description(), maxsplit=1)[0]
        return sentence.replace("\n", " ").replace("`", "")

    def get_override_parameters(self) -> list[Any]:
        query_class = getattr(self.view, "query_class", None)
        return [query_class] if self._is_list_view() and query_class is not None and query_class().fields else []

    def _get_parameters(self) -> list[Schema]:
        """From the path, the query and the headers, in this order."""
        found = sorted(super()._get_parameters(), key=lambda parameter: _PLACES.index(parameter["in"]))
        for parameter in found:
            if parameter["in"] == "path":
                parameter["schema"] = _ID
        return [*found, *({"$ref": f"#/components/parameters/{name}"} for name in self._headers())]

    def _headers(self) -> list[str]:
        names = ["RequestId", "RequestTimeout"]
        if self._takes_a_key:
            names.insert(0, "IdempotencyKey")
        if self._is_guarded:
            names.insert(0, "IfMatch")
        if self._action in ("retrieve", "me"):
            names.insert(0, "IfNoneMatch")
        return names

    def _get_response_bodies(self, direction: Any = "response") -> Schema:
        """A view that names one of the common errors among its responses says only that it occurs."""
        bodies: Schema = super()._get_response_bodies(direction)
        for status, body in bodies.items():
            body["description"] = body["description"] or phrase(int(status))
        common = self._statuses() | {int(status) for status in bodies if int(status) in _ERRORS}
        bodies |= {str(status): {"$ref": f"#/components/responses/{_ERRORS[status][0]}"} for status in common}
        return dict(sorted(bodies.items()))

    def get_auth(self) -> list[dict[str, list[str]]]:
        """What the rules ask for; nothing where anybody may."""
        return [] if self._rule is None or self._rule.anybody else [{"accessToken": []}, {"session": []}]

    @property
    def _rule(self) -> Rule | None:
        return rule_for(settings.SERVICE, self.method, bare(self.path.replace("/?", "").rstrip("/")))

    def _refusals(self) -> set[int]:
        """The statuses of who may not, or not so often."""
        statuses = {401} if self.view.authentication_classes else set()
        if self.get_auth():
            statuses.add(403)
        if self.method == "POST" and self.path.startswith("/api/users"):
            statuses.add(429)
        return statuses

    def _statuses(self) -> set[int]:
        """The statuses besides success that the operation can answer with."""
        statuses = {400, 406, 414, 431, 503, *self._refusals()}
        if "{" in self.path:
            statuses.add(404)
        if self.method in ("POST", "PUT", "PATCH"):
            statuses |= {409, 413, 415}
        if self._takes_a_key:
            statuses.add(422)
        if self._is_guarded:
            statuses.add(412)
        if self._action in ("retrieve", "me"):
            statuses.add(304)
        return statuses

    def _get_response_headers_for_code(self, status_code: str, direction: Any = "response") -> Schema:
        headers = super()._get_response_headers_for_code(status_code, direction)
        names = []
        if status_code in ("200", "201") and self._has_tag:
            names.append("ETag")
        if status_code == "201" and self._is_resource and self._action == "create":
            names.append("Location")
        if status_code in ("200", "201") and self._takes_a_key:
            names.append("Idempotent-Replayed")
        return {**headers, **{name: {"$ref": f"#/components/headers/{name}"} for name in names}}

    @property
    def _action(self) -> str:
        return getattr(self.view, "action", None) or ""

    @property
    def _takes_a_key(self) -> bool:
        return bool(self.method == "POST" and not self.path.startswith("/api/auth/") and "/password" not in self.path)

    @property
    def _is_resource(self) -> bool:
        """The view shows a single resource, with an ETag."""
        return hasattr(self.view, "retrieve")

    @property
    def _has_tag(self) -> bool:
        return self._is_resource and (self.method != "GET" or self._action in ("retrieve", "me"))

    @property
    def _is_guarded(self) -> bool:
        return self._is_resource and self.method in ("PUT", "PATCH", "DELETE")

    def _is_list_view(self, serializer: Any = None) -> bool:
        return self.method == "GET" and (self._action in ("list", "by_user") or getattr(serializer, "many", False))

    def _get_paginator(self) -> Any:
        return getattr(self.view, "paginator", None) if self._is_list_view() else None

    def get_paginated_name(self, serializer_name: str) -> str:
        return f"{serializer_name}Page"

    def get_filter_backends(self) -> list[Any]:
        return []

    def _get_serializer_field_meta(self, field: Any, direction: Any) -> Schema:
        """Defaults, and null for what is then empty, are a matter of requests."""
        meta: Schema = super()._get_serializer_field_meta(field, direction)  # type: ignore[no-untyped-call]
        if direction == "response" or (meta.get("default") == "" and meta.get("minLength")):
            meta.pop("default", None)
        if direction == "response" and isinstance(field, OptionalStringField):
            meta.pop("nullable", None)
        return meta

    def _map_serializer_field(self, field: Any, direction: Any, bypass_extensions: bool = False) -> Any:
        own = self._wire_type(field, direction)
        if own is not None:
            meta = self._get_serializer_field_meta(field, direction)
            return append_meta(own, {**meta, **getattr(field, "openapi", {})})
        schema = super()._map_serializer_field(field, direction, bypass_extensions)  # type: ignore[no-untyped-call]
        if isinstance(field, serializers.ListSerializer):
            bounds = {"minItems": getattr(field, "min_length", None), "maxItems": getattr(field, "max_length", None)}
            schema |= {name: bound for name, bound in bounds.items() if bound is not None}
        return schema

    def _wire_type(self, field: Any, direction: Any) -> Schema | None:
        """The field's type; a request's body may give ids and amounts as strings, too."""
        loose = direction == "request" and not isinstance(field.parent, Query)
        match field:
            case IdField():
                return {**_ID, "type": ["string", "integer"], "minimum": 0, "maximum": MAX_ID} if loose else _ID
            case MoneyField() if direction == "response":
                return {"type": "number", "description": "At most two decimals.", "examples": [999.99]}
            case MoneyField():
                bounds = {"minimum": 0, "maximum": 9999999999.99}
                pattern = {"pattern": r"^[0-9]{1,10}(\.[0-9]{1,2})?$"} if loose else {}
                kind = ["number", "string"] if loose else "number"
                return {"type": kind, **bounds, **pattern, "description": "At most two decimals.", "examples": [999.99]}
            case WholeField():
                schema: Schema = {"type": "integer"}
                self._insert_min_max(field, schema)
                return schema
            case StringField():
                return _text(field, direction)
            case serializers.ChoiceField():
                return {"type": "string", "enum": list(field.choices)}
        return None

    def _insert_field_validators(self, field: Any, schema: Schema) -> None:
        if not isinstance(field, StringField):  # whose type says it all
            super()._insert_field_validators(field, schema)  # type: ignore[no-untyped-call]

    def _postprocess_serializer_schema(self, schema: Schema, serializer: Any, direction: Any) -> Schema:
        """An answer has all its members. ``openapi`` of a serializer or a field is what nothing else says."""
        processed: Schema = super()._postprocess_serializer_schema(  # type: ignore[no-untyped-call]
            schema, serializer, direction
        )
        if direction == "response" and processed.get("properties"):
            processed["required"] = list(processed["properties"])
        return {**processed, **getattr(serializer, "openapi", {})}


def _text(field: StringField, direction: Any) -> Schema:
    schema: Schema = {"type": "string"}
    if field.max_length is not None:
        schema["maxLength"] = field.max_length
    if direction == "request":
        refused = r"\x00-\x1f\x7f" if field.one_line else r"\x00"
        schema["pattern"] = f"^[^{refused}]*$" if field.allow_blank else rf"^[^{refused}]*[^\s{refused}][^{refused}]*$"
    return schema


def _title(words: str) -> str:
    return "".join(word.capitalize() for word in words.split("_"))


def finish(result: Schema, **_: Any) -> Schema:
    """Paths as the contract has them, and what the operations refer to."""
    components = result.setdefault("components", {})
    schemas = {**components.get("schemas", {}), **_SCHEMAS, **HEALTH_SCHEMAS}
    components["schemas"] = dict(sorted(schemas.items()))
    components |= {"parameters": _PARAMETERS, "headers": _HEADERS, "responses": _RESPONSES}
    components["securitySchemes"] = {**_SECURITY, "session": {**_SESSION, "name": settings.SESSION_COOKIE_NAME}}
    result["info"]["description"] = import_module(settings.SERVICE.settings_module).__doc__
    result["paths"] = {_camel(path).replace("/?", "").rstrip("/"): item for path, item in result["paths"].items()}
    for item in result["paths"].values():
        for operation in item.values():
            for parameter in operation.get("parameters", []):
                if parameter.get("in") == "path":
                    parameter["name"] = _camel(parameter["name"])
    _link(result["paths"])
    result["paths"] = {**result["paths"], **HEALTH_PATHS}
    return result


def _link(paths: Schema) -> None:
    """From each answer that tells where a new resource is, to what can be asked of it."""
    for path, item in paths.items():
        made = item.get("post", {}).get("responses", {}).get("201", {})
        if "Location" in made.get("headers", {}):
            made["links"] = dict(_links(path, paths))


def _links(collection: str, paths: Schema) -> Iterator[tuple[str, Schema]]:
    for path, item in paths.items():
        if found := re.fullmatch(re.escape(collection) + r"/\{(\w+)\}(/[\w/-]+)?", path):
            for operation in item.values():
                name = operation["operationId"]
                yield name, {"operationId": name, "parameters": {found[1]: "$response.body#/id"}}


def _camel(text: str) -> str:
    return re.sub("_([a-z])", lambda found: found[1].upper(), text)


_FIELD_ERROR: Schema = {
    "type": "object",
    "description": "What is wrong with one field. For a shortage of stock it also tells the figures.",
    "required": ["field", "code", "detail"],
    "properties": {
        "field": {"type": "string", "examples": ["items[0].quantity"]},
        "code": {"type": "string", "examples": ["min_value"]},
        "detail": {"type": "string"},
        "productId": {"type": "string"},
        "requested": {"type": "integer"},
        "available": {"type": "integer"},
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
        "requestId": {"type": "string", "description": "Names the request in the logs."},
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/FieldError"}},
    },
}
_SCHEMAS = {"FieldError": _FIELD_ERROR, "Problem": _PROBLEM}

_SECURITY: Schema = {
    "accessToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "From `POST /api/auth/token` of user-service; a service signs its own. "
        "In development what comes without a token is let through.",
    }
}
_SESSION: Schema = {
    "type": "apiKey",
    "in": "cookie",
    "description": "Of who is signed in to this service's admin. Unsafe methods want the CSRF token as `X-CSRFToken`.",
}

_HEADERS: Schema = {
    "WWW-Authenticate": {"schema": {"type": "string"}, "description": "RFC 6750."},
    "ETag": {"schema": {"type": "string"}, "description": "The version of the resource."},
    "Location": {"schema": {"type": "string", "format": "uri-reference"}, "description": "Where the new resource is."},
    "Idempotent-Replayed": {
        "schema": {"type": "string", "const": "true"},
        "description": "The answer to an earlier request with the same Idempotency-Key.",
    },
    "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds after which a repetition may succeed."},
}

_ERRORS = {
    304: ("NotModified", "", "If-None-Match names the present version."),
    400: ("BadRequest", "invalid", "Malformed or out of bounds; `errors` names the fields."),
    401: ("NotAuthenticated", "not_authenticated", "No access token, or one that is not good."),
    403: ("PermissionDenied", "permission_denied", "The caller may not do this."),
    404: ("NotFound", "not_found", "There is no such resource."),
    406: ("NotAcceptable", "not_acceptable", "There is no answer in a form that Accept allows."),
    409: ("Conflict", "conflict", "The present state forbids it; `code` names the rule."),
    410: ("Gone", "events_expired", "What follows the place has been deleted; `detail` says what to do."),
    412: ("PreconditionFailed", "precondition_failed", "If-Match does not name the present version."),
    413: ("TooLarge", "too_large", "The body is larger than 1 MiB."),
    414: ("UriTooLong", "invalid", "The address is longer than 8190 bytes."),
    415: ("UnsupportedMediaType", "unsupported_media_type", "The body is not JSON."),
    422: ("Unprocessable", "unprocessable", "It names what does not exist, or reuses the Idempotency-Key."),
    429: ("Throttled", "throttled", "Too many attempts."),
    431: ("HeadersTooLarge", "invalid", "A header is longer than 8190 bytes, or there are more than 100."),
    503: ("Unavailable", "unavailable", "Something that the answer needs does not answer in time."),
}


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
    header = {401: "WWW-Authenticate", 409: "Retry-After", 429: "Retry-After", 503: "Retry-After"}.get(status)
    headers = {"headers": {header: {"$ref": f"#/components/headers/{header}"}}} if header else {}
    return {"description": description, **headers, "content": content}


_RESPONSES = {name: _response(status, code, description) for status, (name, code, description) in _ERRORS.items()}


def _header(name: str, description: str, **schema: Any) -> Schema:
    return {"in": "header", "name": name, "description": description, "schema": {"type": "string", **schema}}


_PARAMETERS = {
    "IdempotencyKey": _header(
        "Idempotency-Key",
        "The same key with the same body gives the first answer again.",
        pattern="^[\\x20-\\x7e]{1,255}$",
    ),
    "IfMatch": _header("If-Match", "Write only while the resource has this ETag."),
    "IfNoneMatch": _header("If-None-Match", "Answer 304 while the resource has this ETag."),
    "RequestId": _header("X-Request-ID", "Comes back in the answer, and names the request in the logs."),
    "RequestTimeout": _header(
        "X-Request-Timeout",
        "Seconds within which an answer is wanted; 5 if not given, at most 30.",
        pattern=r"^(0\.[0-9]{0,2}[1-9]|([1-9]|[12][0-9])(\.[0-9]{1,3})?|30)$",
        examples=["2.5"],
    ),
}
