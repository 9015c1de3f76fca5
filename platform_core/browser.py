"""What a browser may do with an answer: no script, frame or form but our own, and no neighbour's page around it.

And the middlewares of Django that only browsers need.
"""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware

_PAGE = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",  # the pictures in Swagger's and bootstrap's stylesheets
    "font-src 'self'",
    "connect-src 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
    "object-src 'none'",
)
PAGE = "; ".join(_PAGE)
ADMIN = PAGE.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")  # unfold's colours and measured widths
NO_PAGE = "default-src 'none'; frame-ancestors 'none'"

_DEVICES = ("accelerometer", "camera", "geolocation", "gyroscope", "magnetometer", "microphone", "payment", "usb")
PERMISSIONS = ", ".join(f"{device}=()" for device in _DEVICES)

View = Callable[[HttpRequest], HttpResponse]


def browser_security(get_response: View) -> View:
    """The middleware. What Django can say by itself (HSTS, nosniff, opener, referrer) it says by its settings."""

    def secured(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if response.status_code != 304:  # it would replace the headers of the page that the browser has
            response["Content-Security-Policy"] = policy(request.path_info, response.get("Content-Type", ""))
            response["Permissions-Policy"] = PERMISSIONS
            response["Cross-Origin-Resource-Policy"] = "same-origin"
        return response

    return secured


def policy(path: str, content_type: str) -> str:
    """No policy has a nonce, since no page has a script in it."""
    if not content_type.startswith("text/html"):
        return NO_PAGE
    return ADMIN if path.startswith("/admin/") else PAGE


class _ForBrowsers:
    """Passes over what brings no cookie and does not ask for the admin: an API's client has no session to look for."""

    get_response: Any

    def __call__(self, request: HttpRequest) -> Any:
        if "HTTP_COOKIE" in request.META or request.path_info.startswith("/admin/"):
            return super().__call__(request)  # type: ignore[misc]
        return self.get_response(request)


class Sessions(_ForBrowsers, SessionMiddleware):
    pass


class Csrf(_ForBrowsers, CsrfViewMiddleware):
    pass


class Authentication(_ForBrowsers, AuthenticationMiddleware):
    pass


class Messages(_ForBrowsers, MessageMiddleware):
    pass
