"""What the worker serves in its tests, in a gunicorn of its own: a WSGI application that does as the path says."""

import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from platform_core import serving
from platform_core.bodies import LATE, SHORT, take_in

serving.PATIENCE_FOR_HEADS = 0.5
serving.PATIENCE_FOR_ANSWERS = 1.0
LARGE = 64 * 1024 * 1024


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """``/slow`` says on stderr that it has begun, and takes longer than a head may.

    ``/slower`` takes longer than a process that ends waits for requests. ``/body`` takes a body in, and then a moment.
    """
    body = environ["PATH_INFO"].encode()
    match environ["PATH_INFO"]:
        case "/slow" | "/slower" as path:
            print("begun", file=sys.stderr, flush=True)
            time.sleep(0.8 if path == "/slow" else 2.8)
        case "/body":
            take_in(environ, time.monotonic() + 0.3)
            body = b"late" if environ[LATE] else b"short" if environ[SHORT] else environ["wsgi.input"].read()
            time.sleep(0.3)
        case "/large":
            body = b"x" * LARGE
        case "/exit":
            raise SystemExit(1)
        case "/error":
            raise ValueError("no answer")
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
