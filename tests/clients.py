"""The clients of all Django suites. Their requests take the same path as in production.

Django's own test client calls a handler of its own. It sends an empty Cookie header where there are no cookies, no Host
header, and a body that cannot be read beyond its end. It disables CSRF checks and bypasses the code of
`platform_core.wsgi` that runs before Django.
"""

from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.test import Client
from rest_framework.test import APIClient

from platform_core.db.connections import idle_receivers
from platform_core.wsgi import taking_in

HOST = "testserver"
CSRF_TOKEN = "t" * 32
SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")


class Served:
    """Calls the WSGI application as a server does. Returns Django's own response, for the test client to inspect.

    Each instance builds its own middlewares with the settings of the test.
    """

    def __init__(self) -> None:
        self.django: Any = None

    def __call__(self, environ: dict[str, Any]) -> Any:
        if self.django is None:
            self.django = WSGIHandler()
        for signal, receiver in idle_receivers(settings.DATABASES, settings.CACHES):
            signal.disconnect(receiver)  # as in production; Django's own client, in an earlier test, has connected them
        environ["wsgi.input"] = BytesIO(environ["wsgi.input"].read())
        if not environ["HTTP_COOKIE"]:
            del environ["HTTP_COOKIE"]
        sent = WSGIRequest(dict(environ))
        responses: list[Any] = []

        def django(environ: dict[str, Any], start_response: Any) -> Any:
            responses.append(self.django(environ, start_response))
            return responses[0]

        taking_in(django)(environ, lambda status, headers, exc_info=None: None)
        (response,) = responses
        if response.streaming:
            response.streaming_content = [b"".join(response.streaming_content)]
        response.close()
        response.wsgi_request = sent  # the test client asks for it
        return response


class JsonClient(APIClient):
    """An API's client. It sends cookies only if a test has set some."""

    def __init__(self, **defaults: Any) -> None:
        super().__init__(**{"HTTP_HOST": HOST, "HTTP_ACCEPT": "application/json", **defaults})
        self.handler = Served()


class Browser(Client):
    """A browser. Its requests carry the page's CSRF token, unless it ``forges`` requests."""

    def __init__(self, *, forges: bool = False, **defaults: Any) -> None:
        super().__init__(**{"HTTP_HOST": HOST, **defaults})
        self.handler = Served()
        self.forges = forges

    def request(self, **request: Any) -> Any:
        if not self.forges and request["REQUEST_METHOD"] not in SAFE_METHODS:
            name = settings.CSRF_COOKIE_NAME
            if name not in self.cookies:
                self.cookies[name] = CSRF_TOKEN
            request.setdefault(settings.CSRF_HEADER_NAME, self.cookies[name].value)
        return super().request(**request)


class Api:
    """Calls the service's own URLs in-process, as a JSON client would."""

    def __init__(self) -> None:
        self.client = JsonClient()

    def __getattr__(self, method: str) -> Any:
        call = getattr(self.client, method)

        def ask(path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
            return call(path, body, format="json", headers=headers)

        return ask

    def get(self, path: str, headers: dict[str, str] | None = None) -> Any:
        return self.client.get(path, headers=headers)
