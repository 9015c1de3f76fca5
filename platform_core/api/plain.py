"""What DRF does before and after each view, without the detours that a plain JSON request does not need."""

from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.utils.cache import patch_vary_headers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from platform_core.api.json import JSONRenderer

_NOBODY = AnonymousUser()


class PlainView(APIView):
    """Where anything is to be weighed (a browser, a token, an error), DRF weighs it."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """DRF's steps, but for versions and throttles, of which there are none."""
        self.format_kwarg = None
        request.accepted_renderer, request.accepted_media_type = self.perform_content_negotiation(request)
        self.perform_authentication(request)
        self.check_permissions(request)

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """For who asks for JSON, or for nothing in particular, there is nothing to weigh."""
        first = self.renderer_classes[0]
        if request.META.get("HTTP_ACCEPT", "*/*") in ("*/*", first.media_type):
            return first(), first.media_type
        return super().perform_content_negotiation(request, force)

    def perform_authentication(self, request: Request) -> None:
        """Who brings neither a token nor a cookie is nobody, and who brings a token alone has no session."""
        if "HTTP_COOKIE" in request.META:
            super().perform_authentication(request)
            return
        request.user, request.auth = _NOBODY, None
        if "HTTP_AUTHORIZATION" in request.META and request.authenticators:
            bearer: Any = request.authenticators[0]
            request.user, request.auth = bearer.authenticate(request)

    @property
    def default_response_headers(self) -> dict[str, str]:
        """DRF makes them for each request; a plain answer has none of them."""
        return {}

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        renderer: Any = getattr(request, "accepted_renderer", None)
        is_plain = type(response) is Response and not response.exception and isinstance(renderer, JSONRenderer)
        if not is_plain or request.method == "OPTIONS":
            self.headers = super().default_response_headers
            return super().finalize_response(request, response, *args, **kwargs)
        if response.has_header("Vary"):
            patch_vary_headers(response, ("Accept",))
        else:
            response.headers["Vary"] = "Accept"
        response.headers["Content-Type"] = response.content_type or renderer.media_type
        response.content = renderer.render(response.data, None, {"response": response})
        if not response.content:
            del response.headers["Content-Type"]
        self._let_go(request)
        return response

    def _let_go(self, request: Request) -> None:
        """What refers to itself by way of these would wait for the garbage collector, the request's body with it."""
        request.parser_context.clear()
        for method in self.http_method_names:
            vars(self).pop(method, None)
