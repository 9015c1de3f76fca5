"""The one WSGI entry. DJANGO_SETTINGS_MODULE decides which service it is."""

import time
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from django.core.wsgi import get_wsgi_application

from platform_core.bodies import take_in
from platform_core.middleware import BEGAN, deadline_of

_django = get_wsgi_application()
import_module("platform_core.urls")  # loads all views before the fork, so that workers share their pages


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Django, once the body is there."""
    environ[BEGAN] = time.monotonic()
    take_in(environ, deadline_of(environ[BEGAN], environ.get("HTTP_X_REQUEST_TIMEOUT")))
    return _django(environ, start_response)
