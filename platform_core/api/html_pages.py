"""HTML pages with a template of their own, for views that do not use the browsable API."""

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
    """The data for ``problem.html``: a problem, or the answer of another exception handler."""
    if getattr(response, "problem", False):
        return data
    return {"status": response.status_code, "title": response.status_text, "detail": encode(data).decode()}


class PageViewSet(ResourceViewSet):
    """Answers browsers with a page and other clients with JSON. Anonymous browsers are redirected to the sign-in."""

    renderer_classes = [JSONRenderer, PageRenderer]
    schema = None
    template_name: ClassVar[str]

    def page_context(self, request: Request) -> dict[str, Any]:
        """Further variables for the template."""
        return {}

    def page_path(self) -> str:
        """The path of the page, to which the browser returns after a sign-in."""
        return self.request.get_full_path()

    def wants_page(self) -> bool:
        """Whether content negotiation has chosen the HTML page. False if there has been no negotiation yet."""
        return isinstance(getattr(self.request, "accepted_renderer", None), PageRenderer)

    def handle_exception(self, exc: Exception) -> Response:
        """Redirects an anonymous browser to the admin's sign-in. Other errors get the usual answer."""
        response: Response = super().handle_exception(exc)
        is_ours = getattr(response, "problem", False)  # not from another exception handler
        if is_ours and isinstance(exc, exceptions.NotAuthenticated) and self.wants_page():
            sign_in = f"{reverse('admin:login')}?{urlencode({'next': self.page_path()})}"
            return Response(status=302, headers={"Location": sign_in})
        return response
