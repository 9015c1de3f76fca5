"""Pages of our own beside the browsable ones: a view's data in its template, for browsers."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.http import urlencode
from rest_framework import exceptions, renderers
from rest_framework.request import Request
from rest_framework.response import Response

from platform_core.api.json import JSONRenderer, encode
from platform_core.api.views import ResourceViewSet


class PageRenderer(renderers.BaseRenderer):
    """Renders the view's ``template_name`` with its data as ``data``, and any error with ``problem.html``."""

    media_type = "text/html"
    format = "html"
    charset = "utf-8"

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> str:
        if data is None:
            return ""
        found = renderer_context or {}
        view, request, response = found["view"], found["request"], found["response"]
        if response.exception or getattr(response, "problem", False):
            return render_to_string("problem.html", {"problem": _problem(data, response)}, request)
        return render_to_string(view.template_name, {"data": data, **view.page_context(request)}, request)


def _problem(data: Any, response: Any) -> Any:
    """What ``problem.html`` shows: a problem, or whatever another exception handler has answered."""
    if getattr(response, "problem", False):
        return data
    return {"status": response.status_code, "title": response.status_text, "detail": encode(data).decode()}


class PageViewSet(ResourceViewSet):
    """A page to browsers, JSON to everybody else. An anonymous browser is redirected to the admin's sign-in."""

    renderer_classes = [JSONRenderer, PageRenderer]
    schema = None
    template_name: ClassVar[str]

    def page_context(self, request: Request) -> dict[str, Any]:
        """What the template needs beside the data."""
        return {}

    def page_path(self) -> str:
        """Where the page is to which the view's other methods lead back."""
        return self.request.get_full_path()

    def wants_page(self) -> bool:
        return isinstance(getattr(self.request, "accepted_renderer", None), PageRenderer)

    def handle_exception(self, exc: Exception) -> Response:
        response: Response = super().handle_exception(exc)
        is_ours = getattr(response, "problem", False)  # not that of another exception handler
        if is_ours and isinstance(exc, exceptions.NotAuthenticated) and self.wants_page():
            sign_in = f"{reverse('admin:login')}?{urlencode({'next': self.page_path()})}"
            return Response(status=302, headers={"Location": sign_in})
        return response
