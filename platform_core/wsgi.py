"""The one WSGI entry. DJANGO_SETTINGS_MODULE decides which service it is."""

from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

from platform_core.settings import MAX_BODY_BYTES

_django = get_wsgi_application()
get_resolver().url_patterns  # noqa: B018  # loads all views before the fork, so that workers share their pages


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Django, with a length for bodies that come in chunks: it takes a body without one for empty."""
    if environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked" and environ.get("wsgi.input_terminated"):
        body = environ["wsgi.input"].read(MAX_BODY_BYTES + 1)
        environ["wsgi.input"] = BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
    return _django(environ, start_response)
