"""Content negotiation, and the answer to OPTIONS."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rest_framework.exceptions import NotAcceptable
from rest_framework.metadata import BaseMetadata
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from platform_core.api.json import JSONRenderer
from platform_core.http.problems import CONTENT_TYPE, coded, problem

_READING = ("GET", "HEAD")


class NotAcceptableRenderer(JSONRenderer):
    """For a read whose Accept header matches nothing: errors are as always, and a success becomes a 406.

    The view runs first, so that a caller learns that a resource does not exist, or is not theirs, whatever they accept.
    """

    def __init__(self, offered: Iterable[str]) -> None:
        self.offered = offered

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        response = (renderer_context or {})["response"]
        if 200 <= response.status_code < 300:
            response.status_code = 406
            response.problem = True
            del response["ETag"], response["Cache-Control"]
            detail = f"No representation matches the Accept header. There are: {', '.join(self.offered)}."
            data = problem(coded(406, "not_acceptable", detail))
        return super().render(data, accepted_media_type, renderer_context)


class Negotiation(DefaultContentNegotiation):
    """DRF's negotiation, in which errors are always acceptable, and writes are never refused for their Accept header.

    `application/problem+json` matches every operation, as the type of its errors; a success is then JSON. The two usual
    headers, `*/*` and the first renderer's type, have a fast path.
    """

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> Any:
        """The renderer and the accepted media type. Raises Http404 for an unknown format suffix."""
        renderers = list(renderers)
        accept = request.META.get("HTTP_ACCEPT", "*/*")
        if accept in ("*/*", renderers[0].media_type) and not format_suffix and not self.settings.URL_FORMAT_OVERRIDE:
            return renderers[0], renderers[0].media_type
        try:
            return super().select_renderer(request, renderers, format_suffix)
        except NotAcceptable:
            if request.method in _READING and CONTENT_TYPE not in accept.lower():
                return NotAcceptableRenderer([each.media_type for each in renderers]), CONTENT_TYPE
            chosen = _json_of(renderers)
            return chosen, chosen.media_type


def _json_of(renderers: Sequence[BaseRenderer]) -> BaseRenderer:
    """The renderer of `application/json`, or the first of all."""
    return next((each for each in renderers if each.media_type == JSONRenderer.media_type), renderers[0])


class NoMetadata(BaseMetadata):
    """OPTIONS returns only the Allow header; `/api/schema` describes the rest."""

    def determine_metadata(self, request: Request, view: Any) -> None:
        return None
