"""The contract, for programs under `/api/schema` and for people under `/api/docs`."""

from typing import Any

from django.http import HttpResponse
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiYamlRenderer, OpenApiYamlRenderer2
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from platform_core.api.json import JSONRenderer
from platform_core.api.problems import problem_response, translated


class SchemaView(SpectacularAPIView):
    """OpenAPI, as JSON unless YAML is asked for."""

    renderer_classes = [JSONRenderer, OpenApiJsonRenderer, OpenApiYamlRenderer2, OpenApiYamlRenderer]


class DocsView(SpectacularSwaggerSplitView):
    """A page, whatever is asked for, and its script; only errors are told to programs as problems."""

    template_name = "docs.html"

    def perform_content_negotiation(self, request: Any, force: bool = False) -> Any:
        return super().perform_content_negotiation(request, force=True)

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return HttpResponse(status=204, headers={"Allow": "GET, HEAD, OPTIONS"})

    def handle_exception(self, exc: Exception) -> Any:
        return problem_response(translated(exc), self.request)
