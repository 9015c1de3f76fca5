"""Content negotiation, and the answer to OPTIONS."""

from collections.abc import Iterable
from typing import Any

from rest_framework.metadata import BaseMetadata
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request


class Negotiation(DefaultContentNegotiation):
    """DRF's negotiation, with a fast path for the two usual Accept headers: `*/*` and the first renderer's type."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> Any:
        renderers = list(renderers)
        accept = request.META.get("HTTP_ACCEPT", "*/*")
        if accept in ("*/*", renderers[0].media_type) and not format_suffix and not self.settings.URL_FORMAT_OVERRIDE:
            return renderers[0], renderers[0].media_type
        return super().select_renderer(request, renderers, format_suffix)


class NoMetadata(BaseMetadata):
    """OPTIONS returns only the Allow header; `/api/schema` describes the rest."""

    def determine_metadata(self, request: Request, view: Any) -> None:
        return None
