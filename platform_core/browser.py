"""What a browser may do with an answer: no script, frame or form but our own, and no neighbour's page around it.

And the middlewares that only browsers need. They pass over the requests of an API's clients, which are most.
"""

from collections.abc import Callable
from typing import Any

from corsheaders.middleware import CorsMiddleware
from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from whitenoise.middleware import WhiteNoiseMiddleware

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
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": NO_PAGE,
}
_CHECKED = {name.lower(): (name, value) for name, value in _ALWAYS.items()}
"""As Django keeps them, which looks at each character of a header again whenever it is set."""
_ON_PAGES = {
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": ", ".join(f"{device}=()" for device in _DEVICES),
}

View = Callable[[HttpRequest], HttpResponse]


def browser_security(get_response: View) -> View:
    """The middleware that says all of it, in place of Django's two, with what only a page needs on pages alone."""

    def secured(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if response.status_code == 304:  # its headers would replace those of the page that the browser has
            return response
        response.headers._store.update(_CHECKED)
        headers = {}
        if response.get("Content-Type", "").startswith("text/html"):
            policy = ADMIN if request.path_info.startswith("/admin/") else PAGE
            headers = {**_ON_PAGES, "Content-Security-Policy": policy}
        if settings.SECURE_HSTS_SECONDS and request.is_secure():
            headers["Strict-Transport-Security"] = f"max-age={settings.SECURE_HSTS_SECONDS}; includeSubDomains; preload"
        for name, value in headers.items():
            response.headers[name] = value
        return response

    return secured


class Cors(CorsMiddleware):
    """A request that names no origin asks for no leave; caches are told that there are others."""

    def __call__(self, request: HttpRequest) -> Any:
        if "HTTP_ORIGIN" in request.META:
            return super().__call__(request)
        response: Any = self.get_response(request)
        vary = response.get("Vary")
        response.headers["Vary"] = f"{vary}, origin" if vary else "origin"
        return response


class Static(WhiteNoiseMiddleware):  # type: ignore[misc]
    """In development it looks through all folders for whatever is asked."""

    def __call__(self, request: HttpRequest) -> Any:
        if request.path_info.startswith(self.static_prefix):
            return super().__call__(request)
        return self.get_response(request)


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
