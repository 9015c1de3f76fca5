"""OpenAPI: what holds for every operation is said once, here."""

from typing import Any

from drf_spectacular.openapi import AutoSchema as SpectacularSchema
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, inline_serializer
from rest_framework import serializers

_Problem = inline_serializer(
    "Problem",
    {
        "type": serializers.CharField(),
        "title": serializers.CharField(),
        "status": serializers.IntegerField(),
        "detail": serializers.CharField(),
        "code": serializers.CharField(),
        "requestId": serializers.CharField(),
        "errors": serializers.ListField(child=serializers.DictField(), required=False),
    },
)
_MEANINGS = {
    400: "Malformed or out of bounds; `errors` names the fields.",
    404: "No such resource.",
    406: "No answer in a form that Accept allows.",
    409: "The present state forbids it; `code` says which rule.",
    412: "If-Match is stale.",
    413: "Body over 1 MiB.",
    415: "Not JSON.",
    422: "Names something that does not exist, or an Idempotency-Key was reused.",
    503: "A part that the answer needs does not answer in time; see Retry-After.",
}


def _header(name: str, description: str) -> OpenApiParameter:
    return OpenApiParameter(name, str, OpenApiParameter.HEADER, description=description)


class AutoSchema(SpectacularSchema):
    """Adds the common headers, the query's parameters and the error answers to what the view says."""

    def get_override_parameters(self) -> list[Any]:
        parameters: list[Any] = [
            _header("X-Request-ID", "Returned as it came."),
            _header("X-Request-Timeout", "Seconds."),
        ]
        if self.method == "POST":
            parameters.append(_header("Idempotency-Key", "The same key and body give the first answer again."))
        if self.method in ("PUT", "PATCH", "DELETE"):
            parameters.append(_header("If-Match", "Write only this version."))
        if self.method == "GET" and getattr(self.view, "action", "") == "retrieve":
            parameters.append(_header("If-None-Match", "304 when this is still the version."))
        query_class = getattr(self.view, "query_class", None)
        if query_class is not None and self._is_list_view():
            parameters.append(query_class)
        return parameters

    def _is_list_view(self, serializer: Any = None) -> bool:
        return self.method == "GET" and getattr(self.view, "action", "") in ("list", "by_user")

    def _get_paginator(self) -> None:
        return None

    def get_filter_backends(self) -> list[Any]:
        return []

    def _get_response_for_code(self, serializer: Any, status_code: str, *args: Any, **kwargs: Any) -> Any:
        response = super()._get_response_for_code(serializer, status_code, *args, **kwargs)
        if self._is_list_view() and status_code == "200":
            for content in response.get("content", {}).values():
                if content.get("schema", {}).get("type") == "array":
                    content["schema"] = _page_of(content["schema"])
        return response

    def _get_response_bodies(self, direction: str = "response") -> dict[str, Any]:
        bodies = super()._get_response_bodies(direction)
        statuses = [400, 404, 406, 503]
        if self.method != "GET":
            statuses += [409, 412, 413, 415, 422]
        for status in statuses:
            described = OpenApiResponse(_Problem, description=_MEANINGS[status])
            body = self._get_response_for_code(described, str(status), ["application/problem+json"])
            bodies.setdefault(str(status), body)
        return dict(sorted(bodies.items()))


def _page_of(rows: dict[str, Any]) -> dict[str, Any]:
    link = {"type": ["string", "null"], "format": "uri"}
    return {
        "type": "object",
        "required": ["results", "next", "previous"],
        "properties": {"results": rows, "next": link, "previous": link},
    }


def one_path_each(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Paths without the optional trailing slash, which drf-spectacular leaves as a question mark."""
    result["paths"] = {path.replace("/?", "") or path: item for path, item in result["paths"].items()}
    return result
