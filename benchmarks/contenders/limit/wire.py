"""Requests and answers: a dictionary for a router, msgspec for JSON."""

import gc
import http
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

import msgspec
import psycopg

from benchmarks.contenders.limit.database import forget_connection

Environ = dict[str, Any]

encode = msgspec.json.Encoder(decimal_format="number").encode
_LINES = {status.value: f"{status.value} {status.phrase}" for status in http.HTTPStatus}
_MAX_ID = 2**63 - 1


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"


Handler = Callable[[Environ, str], Answer]


class Refused(Exception):
    """The answer is a problem."""

    def __init__(self, status: int, code: str, detail: str = "", errors: Iterable[Mapping[str, Any]] = ()) -> None:
        super().__init__(code)
        self.status, self.code, self.detail, self.errors = status, code, detail, list(errors)
        self.headers: tuple[tuple[str, str], ...] = (("Retry-After", "1"),) if status == 503 else ()

    def answer(self) -> Answer:
        problem = {"type": "about:blank", "title": _LINES[self.status][4:], "status": self.status, "code": self.code}
        problem |= {"detail": self.detail, "errors": self.errors}
        return Answer(self.status, encode(problem), self.headers, "application/problem+json")


def served(routes: Mapping[str, Handler]) -> Callable[..., Iterable[bytes]]:
    """A WSGI application. ``routes`` by ``GET /api/things`` and ``GET /api/things/*`` with an id or a name."""
    routes = {"GET /health/*": lambda environ, name: Answer(200, b'{"status":"ok"}'), **routes}

    def application(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        answer = _answer(routes, environ)
        start_response(
            _LINES[answer.status],
            [("Content-Type", answer.content_type), ("Content-Length", str(len(answer.body))), *answer.headers],
        )
        return (answer.body,)

    gc.freeze()  # everything loaded so far is permanent
    return application


def _answer(routes: Mapping[str, Handler], environ: Environ) -> Answer:
    path = environ["PATH_INFO"].rstrip("/")
    handler, name = routes.get(f"{environ['REQUEST_METHOD']} {path}"), ""
    if handler is None:
        collection, _, name = path.rpartition("/")
        handler = routes.get(f"{environ['REQUEST_METHOD']} {collection}/*", _unknown)
    try:
        return handler(environ, name)
    except Refused as refused:
        return refused.answer()
    except (msgspec.MsgspecError, psycopg.DataError, ValueError) as error:
        return Refused(400, "invalid", str(error)).answer()
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        forget_connection()
        return Refused(503, "unavailable", type(error).__name__).answer()


def _unknown(environ: Environ, name: str) -> Answer:
    raise Refused(404, "not_found")


def id_of(text: str) -> int:
    """Of a path. Raises Refused."""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= _MAX_ID):
        raise Refused(404, "not_found")
    return int(text)


def body_of(environ: Environ) -> bytes:
    return environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))


def query_of(environ: Environ) -> dict[str, str]:
    return dict(parse_qsl(environ["QUERY_STRING"]))


def limit_of(query: Mapping[str, str]) -> int:
    """Raises ValueError."""
    limit = int(query.get("limit", 50))
    if not 1 <= limit <= 200:
        raise ValueError("limit: expected 1 to 200.")
    return limit


def page(environ: Environ, query: Mapping[str, str], limit: int, rows: list[Any]) -> Answer:
    """Builds a page. ``rows`` are newest first, with ``id``, and one more than ``limit`` if there is a next page."""
    following = None
    if len(rows) > limit:
        del rows[limit:]
        base = f"http://{environ['HTTP_HOST']}{environ['PATH_INFO']}"
        following = f"{base}?{urlencode({**query, 'before': rows[-1].id})}"
    return Answer(200, encode({"results": rows, "next": following, "previous": None}))


def one(environ: Environ, row: tuple[Any, ...] | None, shape: Callable[..., Any]) -> Answer:
    """The response for a row whose first column is its version. Raises Refused."""
    if row is None:
        raise Refused(404, "not_found")
    tag = f'"{row[0]}"'
    if environ.get("HTTP_IF_NONE_MATCH") == tag:
        return Answer(304, b"", (("ETag", tag),))
    return Answer(200, encode(shape(*row[1:])), (("ETag", tag),))


def trace_of(environ: Environ) -> dict[str, str]:
    """The ids of a request for rows and peers: the caller's, or new ones."""
    return {
        "request_id": environ.get("HTTP_X_REQUEST_ID") or os.urandom(16).hex(),
        "traceparent": environ.get("HTTP_TRACEPARENT") or f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01",
    }
