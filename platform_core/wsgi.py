"""The WSGI application of all services. DJANGO_SETTINGS_MODULE selects the service."""

import time
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from platform_core.conf.checks import exit_on_errors
from platform_core.http.context import DEFAULT_DEADLINE
from platform_core.http.middleware import deadline_of
from platform_core.http.request_body import BEGAN, LastAnswer, Upload, take_in, upload_of

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def taking_in(django: Application) -> Application:
    """A WSGI application that reads the whole request body before it calls ``django``."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ[BEGAN] = time.monotonic()
        if (upload := upload_of(environ, settings.UPLOADS)) is not None:
            return _with_upload(django, environ, start_response, upload)
        is_whole = take_in(environ, deadline_of(environ[BEGAN], environ.get("HTTP_X_REQUEST_TIMEOUT")))
        answer = django(environ, start_response)
        return answer if is_whole else LastAnswer(answer)

    return application


def _with_upload(
    django: Application, environ: dict[str, Any], start_response: Callable[..., Any], upload: Upload
) -> Iterable[bytes]:
    answer = django(environ, start_response)
    if upload.is_whole:
        return answer
    upload.discard(DEFAULT_DEADLINE)
    return answer if upload.is_whole else LastAnswer(answer)


application = taking_in(get_wsgi_application())
exit_on_errors()
import_module("platform_core.urls")  # loads all views before the fork, so that workers share their pages
