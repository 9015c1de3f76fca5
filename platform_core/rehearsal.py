"""What the first requests touch, touched before the fork, so that web processes share its pages.

CPython counts references inside the objects and specializes code where it lies, the most the first time: a process that
has answered its first requests by itself has 20 MiB of its own, else 12.
"""

import io
import logging
import time
from contextlib import suppress

from django.core.handlers.wsgi import WSGIRequest
from django.db import connections
from django.urls import get_resolver

from platform_core.auth.tokens import service_token
from platform_core.context import Context, entered

SECONDS = 2.0
_READING = ("list", "retrieve")


def rehearse() -> None:
    """Ask each resource's view for its list and for a row that is not there; what comes of it does not matter.

    Nothing is counted or logged, nothing fails, and no connection is left open, for two processes would write to it.
    """
    logging.disable()
    try:
        with suppress(Exception), entered(Context(deadline=time.monotonic() + SECONDS)):
            service_token("nobody")
            for each in get_resolver().url_patterns:
                if getattr(each.callback, "actions", {}).get("get") in _READING:
                    answer = each.callback(_request(), **dict.fromkeys(each.pattern.regex.groupindex, "0"))
                    if answer.status_code == 503:
                        break
    finally:
        connections.close_all()
        logging.disable(logging.NOTSET)


def _request() -> WSGIRequest:
    return WSGIRequest({"REQUEST_METHOD": "GET", "wsgi.input": io.BytesIO(), "SERVER_NAME": "", "SERVER_PORT": "80"})
