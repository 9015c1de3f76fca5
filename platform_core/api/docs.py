"""The OpenAPI document at `/api/schema` and Swagger UI at `/api/docs`."""

from typing import Any

from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiYamlRenderer, OpenApiYamlRenderer2
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.response import Response

from platform_core.api.html_pages import PageRenderer
from platform_core.api.json import JSONRenderer


class SchemaView(SpectacularAPIView):
    """The OpenAPI document, as JSON by default or as YAML."""

    renderer_classes = [JSONRenderer, OpenApiJsonRenderer, OpenApiYamlRenderer2, OpenApiYamlRenderer]


class DocsView(SpectacularSwaggerSplitView):
    """Swagger UI and its script, or the page's data as JSON.

    Errors are problem+json, or a page in a browser, as everywhere.
    """

    renderer_classes = [TemplateHTMLRenderer, JSONRenderer]
    template_name = "docs.html"

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """The answer of the metadata class; 204 if it is empty."""
        self._answer_without_template()
        response: Response = super().options(request, *args, **kwargs)
        if response.data is None:
            response.status_code = 204
        return response

    def handle_exception(self, exc: Exception) -> Response:
        """The answer of the exception handler, without the template of this page."""
        response: Response = super().handle_exception(exc)
        self._answer_without_template()
        return response

    def _answer_without_template(self) -> None:
        """Negotiates again with other renderers, because the page's renderer can only render its own template."""
        self.renderer_classes = [JSONRenderer, PageRenderer]
        chosen = self.perform_content_negotiation(self.request, force=True)
        self.request.accepted_renderer, self.request.accepted_media_type = chosen
