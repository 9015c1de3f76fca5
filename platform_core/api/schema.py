"""The common parts of all OpenAPI operations. `openapi_types` describes the types."""

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from django.conf import settings
from drf_spectacular.openapi import AutoSchema as SpectacularSchema
from drf_spectacular.utils import OpenApiParameter
from rest_framework.viewsets import ViewSetMixin

from platform_core.api.health import HEALTH_PATHS
from platform_core.api.idempotency import handles_key
from platform_core.api.openapi_components import (
    ERROR_REFERENCES,
    HEADERS,
    PARAMETERS,
    RESPONSES,
    SCHEMAS,
    security_schemes,
)
from platform_core.api.openapi_types import ID
from platform_core.auth.access import bare
from platform_core.auth.rules import Rule, rule_for
from platform_core.http.errors import phrase
from platform_core.http.rate_limits import HEADERS as RATE_LIMIT_HEADERS

Schema = dict[str, Any]

_OPERATIONS = {
    "list": "list{}s",
    "create": "create{}",
    "retrieve": "get{}",
    "update": "replace{}",
    "partial_update": "update{}",
    "destroy": "delete{}",
}
_OF_ALL = ("events", "people", "back-office", "health")
"""The tags of the routes that all services have, in the order of the document."""
_PLACES = ("path", "query", "header", "cookie")


class AutoSchema(SpectacularSchema):
    """Adds the parameters, headers and error answers that follow from the kind of operation.

    A view's `@extend_schema` takes precedence; it can add a common error as None (``{429: None}``).
    A POST takes an Idempotency-Key if its method is marked by `idempotent` or `takes_key`. The view's attribute
    ``conditional_actions`` names the actions that answer 304 to If-None-Match.
    """

    def get_operation(self, path: str, path_regex: str, path_prefix: str, method: str, registry: Any) -> Any:
        """drf-spectacular's description of the operation, with the error answers."""
        operation = super().get_operation(path, path_regex, path_prefix, method, registry)
        if operation is not None:
            operation["responses"] = self._with_errors(operation["responses"])
        return operation

    def get_operation_id(self) -> str:
        """The operation's name, such as ``listOrders``: made of the action and the name of the viewset."""
        if not isinstance(self.view, ViewSetMixin) or not self._action:
            return str(super().get_operation_id())
        noun = type(self.view).__name__.removesuffix("ViewSet")
        verb = "get{}" + _title(self._action) if self.method == "GET" else self._action + "{}"
        return _OPERATIONS.get(self._action, verb).format(noun)

    def get_summary(self) -> str:
        """The description's first sentence."""
        sentence = re.split(r"\.(?:\s|$)", self.get_description(), maxsplit=1)[0]
        return sentence.replace("\n", " ").replace("`", "")

    def get_auth(self) -> list[dict[str, list[str]]]:
        """The security requirement from the access rules; empty for public routes."""
        rule = self._rule
        return [] if rule is None or rule.anybody else [{"accessToken": []}, {"session": []}]

    def get_paginated_name(self, serializer_name: str) -> str:
        """The name of the component for a page of a list, such as ``OrderPage``."""
        return f"{serializer_name}Page"

    def get_override_parameters(self) -> list[Any]:
        """Parameters of pages and filters, headers of requests, headers of answers."""
        return [*self._queries(), *self._request_headers(), *self._response_headers()]

    def _queries(self) -> Iterator[Any]:
        """``query_class`` of the view describes a list's filters; its paginator describes the pages."""
        query_class = getattr(self.view, "query_class", None)
        if self._is_list and query_class is not None and query_class().fields:
            yield query_class

    def _request_headers(self) -> Iterator[OpenApiParameter]:
        names = ["RequestId", "RequestTimeout"]
        names += ["IdempotencyKey"] if self._takes_a_key else []
        names += ["IfMatch"] if self._is_guarded else []
        names += ["IfAbsent"] if self._is_guarded and self.method == "PUT" else []
        names += ["IfNoneMatch"] if self._is_conditional else []
        for header in map(PARAMETERS.__getitem__, names):
            yield OpenApiParameter(header["name"], header["schema"], "header", description=header["description"])

    def _response_headers(self) -> Iterator[OpenApiParameter]:
        has_tag = self._is_resource and (self.method != "GET" or self._is_conditional)
        statuses = {
            "ETag": [200, 201] if has_tag else [],
            "Location": [201] if self._is_resource and self._action == "create" else [],
            "Idempotent-Replayed": [200, 201] if self._takes_a_key else [],
            **{name: [200, 201, 202, 204] for name in RATE_LIMIT_HEADERS},
        }
        for name in filter(statuses.get, statuses):
            header = HEADERS[name]
            yield OpenApiParameter(
                name, header["schema"], "header", description=header["description"], response=statuses[name]
            )

    def _with_errors(self, responses: Schema) -> Schema:
        """Adds the common errors. They replace those that a view declares as None."""
        said: Any = self.get_response_serializers()
        bodies = said.items() if isinstance(said, dict) else ()
        common = {str(status) for status, body in bodies if body is None} & ERROR_REFERENCES.keys()
        own = {status: response for status, response in responses.items() if status not in common}
        for status, response in own.items():
            response["description"] = response["description"] or (phrase(int(status)) if status.isdigit() else status)
        errors = {status: ERROR_REFERENCES[status] for status in common | self._errors()}
        return dict(sorted({**errors, **own}.items()))

    def _errors(self) -> set[str]:
        """The error statuses of such an operation."""
        has_body = self.method in ("POST", "PUT", "PATCH")
        possible = {
            **dict.fromkeys((400, 414, 431, 503), True),
            406: self.method == "GET",
            304: self._is_conditional,
            401: bool(self.view.get_authenticators()),
            403: bool(self.get_auth()),
            404: "{" in self.path,
            **dict.fromkeys((409, 413, 415), has_body),
            412: self._is_guarded,
            429: True,
            422: self._takes_a_key,
        }
        return {str(status) for status, is_possible in possible.items() if is_possible}

    @property
    def _rule(self) -> Rule | None:
        return rule_for(self.method, bare(_written(self.path)))

    @property
    def _action(self) -> str:
        return getattr(self.view, "action", None) or ""

    @property
    def _is_list(self) -> bool:
        said = self.get_response_serializers()
        bodies = said.values() if isinstance(said, dict) else [said]
        return self._action == "list" or any(getattr(body, "many", False) for body in bodies)

    @property
    def _takes_a_key(self) -> bool:
        handler = getattr(self.view, self._action or self.method.lower(), None)
        return self.method == "POST" and handles_key(handler)

    @property
    def _is_resource(self) -> bool:
        """The view shows a single resource, with an ETag."""
        return hasattr(self.view, "retrieve")

    @property
    def _is_conditional(self) -> bool:
        return self._action in getattr(self.view, "conditional_actions", ("retrieve",))

    @property
    def _is_guarded(self) -> bool:
        return self._is_resource and self.method in ("PUT", "PATCH", "DELETE")


def finish(result: Schema, **_: Any) -> Schema:
    """The last step of each document: adds components, links, and the routes that are not DRF views."""
    components = result.setdefault("components", {})
    components["schemas"] = dict(sorted({**components.get("schemas", {}), **SCHEMAS}.items()))
    components |= {"parameters": PARAMETERS, "headers": HEADERS, "responses": RESPONSES}
    components["securitySchemes"] = security_schemes(settings.SESSION_COOKIE_NAME)
    result["info"]["description"] = import_module(settings.SERVICE.settings_module).__doc__
    result["paths"] = {_written(path): item for path, item in result["paths"].items()}
    for item in result["paths"].values():
        for operation in item.values():
            _refer(operation)
    _link(result["paths"])
    result["paths"] |= HEALTH_PATHS
    operations = [operation for item in result["paths"].values() for operation in item.values()]
    for operation in operations:
        operation.setdefault("security", [])  # public
    tags = dict.fromkeys(tag for operation in operations for tag in operation.get("tags", []))
    result["tags"] = [{"name": tag} for tag in sorted(tags, key=_place)]
    result["paths"] = dict(sorted(result["paths"].items(), key=lambda item: _place(_tag(item[1]))))
    for kind in ("parameters", "responses", "headers"):  # responses refer to headers
        used = set(_references(result))
        components[kind] = {name: each for name, each in components[kind].items() if _path(kind, name) in used}
    return result


def _references(part: Any) -> Iterator[str]:
    """All values of ``$ref``."""
    if isinstance(part, Mapping):
        if isinstance(reference := part.get("$ref"), str):
            yield reference
        part = list(part.values())
    if isinstance(part, list | tuple):
        for each in part:
            yield from _references(each)


def _place(tag: str) -> tuple[int, bool]:
    """Sorts tags for readers: the service's own resource first, what all services have last."""
    return _OF_ALL.index(tag) if tag in _OF_ALL else -1, not tag.startswith(settings.SERVICE.stem)


def _tag(item: Schema) -> str:
    return next((tag for operation in item.values() for tag in operation.get("tags", [])), "")


def _refer(operation: Schema) -> None:
    """Puts references in place of the common headers, and the parameters in the order path, query, header."""
    parameters = sorted(operation.get("parameters", []), key=lambda parameter: _PLACES.index(parameter["in"]))
    for parameter in parameters:
        if parameter["in"] == "path" and parameter["schema"].get("pattern") == ID["pattern"]:
            parameter["schema"] = ID
    operation["parameters"] = [_reference("parameters", PARAMETERS, parameter) for parameter in parameters]
    for response in operation["responses"].values():
        headers = response.get("headers", {})
        headers |= {name: _reference("headers", HEADERS, header) for name, header in headers.items()}


def _reference(kind: str, components: Schema, found: Schema) -> Schema:
    names = [name for name, component in components.items() if component == found]
    return {"$ref": _path(kind, names[0])} if names else found


def _path(kind: str, name: str) -> str:
    return f"#/components/{kind}/{name}"


def _link(paths: Schema) -> None:
    """Links each answer that has the Location of a new resource to the operations on that resource."""
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


def _written(path: str) -> str:
    """A route without the optional trailing slash, as in the documents."""
    return path.replace("/?", "").rstrip("/")


def _title(words: str) -> str:
    return "".join(word.capitalize() for word in words.split("_"))
