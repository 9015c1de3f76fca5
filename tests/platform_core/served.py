"""A small WSGI application for a gunicorn of the tests' own. The path says what it does."""

import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from platform_core.http.request_body import LATE, SHORT, LastAnswer, take_in


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answers with the path.

    ``/slow`` prints "begun" on stderr first and takes 0.8 s, ``/slower`` 2.8 s, which is longer than a worker that
    stops keeps idle connections. ``/body`` answers with the body, or says what is wrong with it 0.3 s after its
    deadline.
    """
    body, is_whole = environ["PATH_INFO"].encode(), True
    match environ["PATH_INFO"]:
        case "/slow" | "/slower" as path:
            print("begun", file=sys.stderr, flush=True)
            time.sleep(0.8 if path == "/slow" else 2.8)
        case "/body":
            is_whole = take_in(environ, time.monotonic() + 0.3)
            body = b"late" if environ[LATE] else b"short" if environ[SHORT] else environ["wsgi.input"].read()
            time.sleep(0 if is_whole else 0.3)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body] if is_whole else LastAnswer([body])
