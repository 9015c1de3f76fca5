"""What the worker serves in its tests, in a gunicorn of its own: a WSGI application that does as the path says."""

import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from platform_core import serving

serving.PATIENCE_FOR_HEADS = 0.5


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """``/slow`` says on stderr that it has begun, and takes longer than a head may."""
    match environ["PATH_INFO"]:
        case "/slow":
            print("begun", file=sys.stderr, flush=True)
            time.sleep(0.8)
        case "/exit":
            raise SystemExit(1)
        case "/error":
            raise ValueError("no answer")
    body = environ["PATH_INFO"].encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
