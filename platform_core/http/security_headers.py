"""Security headers that Django and its packages have no setting for, and faster subclasses of two middlewares.

Each subclass behaves as the original does. `docs/decisions/0014-djangos-middlewares.md` has the measurements.
"""

from typing import Any

from corsheaders.middleware import CorsMiddleware as StockCorsMiddleware
from csp.constants import HEADER, NONE, UNSAFE_INLINE
from csp.middleware import CSPMiddleware as StockCSPMiddleware
from csp.middleware import PolicyParts
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

_DEVICES = ("accelerometer", "camera", "geolocation", "gyroscope", "magnetometer", "microphone", "payment", "usb")
PERMISSIONS = ", ".join(f"{device}=()" for device in _DEVICES)
DATA_POLICY = {"default-src": [NONE], "frame-ancestors": [NONE]}
"""The Content-Security-Policy of answers that are not HTML: JSON, metrics, stylesheets."""
_DATA_POLICY_HEADER = "; ".join(f"{name} {' '.join(sources)}" for name, sources in DATA_POLICY.items())


class CSPMiddleware(StockCSPMiddleware):
    """django-csp. Adds a stricter policy for answers that are not HTML, and inline styles in the admin.

    `CONTENT_SECURITY_POLICY` is the policy of HTML pages. Decorators work on all answers.
    """

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        policy = getattr(settings, "CONTENT_SECURITY_POLICY", None) or {}
        self.is_on = bool(policy)
        self.is_constant = policy.keys() == {"DIRECTIVES"} and not getattr(
            settings, "CONTENT_SECURITY_POLICY_REPORT_ONLY", None
        )

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Adds the headers. A 304 gets no policy."""
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        if response.status_code == 304:
            return response  # its headers would replace those that the browser has stored with the page (RFC 9111, 3.2)
        if _is_page(response):
            response.headers.setdefault("Permissions-Policy", PERMISSIONS)
        elif self.is_constant and "_csp_" not in " ".join(vars(response)):
            response.headers.setdefault(HEADER, _DATA_POLICY_HEADER)
            return response
        return super().process_response(request, response)

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        """The parts of django-csp's policy: the strict one for data, and in the admin with inline styles."""
        parts = super().get_policy_parts(request, response, report_only)
        if report_only or not self.is_on or parts.config is not None:
            return parts
        if not _is_page(response):
            parts.config = DATA_POLICY
        elif request.path_info.startswith("/admin/"):
            # unfold writes its palette into the page, and Alpine measures widths.
            update = parts.update or {}
            styles = update.get("style-src", [])
            parts.update = {**update, "style-src": [*([styles] if isinstance(styles, str) else styles), UNSAFE_INLINE]}
        return parts


def _is_page(response: HttpResponseBase) -> bool:
    return response.headers.get("Content-Type", "").startswith("text/html")


class CorsMiddleware(StockCorsMiddleware):
    """django-cors-headers. Skips requests without an `Origin` header, which only get `Vary: origin`."""

    def __call__(self, request: HttpRequest) -> Any:
        if "HTTP_ORIGIN" in request.META:
            return super().__call__(request)
        response: HttpResponse = self.get_response(request)  # type: ignore[assignment]
        vary = response.headers.get("Vary")
        if vary is None:
            response.headers["Vary"] = "origin"
        elif "origin" in vary.lower() or "*" in vary:
            patch_vary_headers(response, ("origin",))
        else:
            response.headers["Vary"] = f"{vary}, origin"
        return response
