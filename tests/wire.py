"""Assertions on responses, and concurrent callers, for all suites."""

import gc
import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

BRACKETS = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "ROLLBACK")
PROBLEM = {"type", "title", "status", "detail", "code", "requestId"}


def assert_problem(response: Any, status: int, code: str, fields: Iterable[str] | None = None) -> list[dict[str, Any]]:
    """Asserts that the response is problem+json of this kind with errors for ``fields``. Returns its ``errors``."""
    assert response.status_code == status, (response.status_code, response.content[:500])
    assert response["Content-Type"] == "application/problem+json"
    body = response.json()
    assert set(body) - {"errors"} == PROBLEM
    assert body["status"] == status
    assert body["code"] == code
    assert body["title"] and body["detail"]
    assert body["requestId"] == response["X-Request-ID"]
    errors: list[dict[str, Any]] = body.get("errors", [])
    assert all({"field", "code", "detail"} <= set(error) for error in errors)
    if fields is not None:
        assert {error["field"] for error in errors} == set(fields)
    return errors


def until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Waits for a condition and returns its value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
    return value


def feed(api: Any, query: str = "") -> Any:
    """The response of ``/api/events`` as soon as no open transaction hides an event."""

    def complete() -> Any:
        answer = api.client.get(f"/api/events{query}", HTTP_ACCEPT="*/*")
        return None if answer.has_header("Feed-Pending") else answer

    return until(complete)


def ask_wsgi(method: str, path: str, body: Any = None, **headers: str) -> str:
    """Calls the WSGI application as a server does, without a test client. Returns the status line.

    ``headers`` are named as in WSGI, such as ``HTTP_IDEMPOTENCY_KEY``.
    """
    from wsgiref.util import setup_testing_defaults

    from platform_core.wsgi import application

    content = b"" if body is None else json.dumps(body).encode()
    path, _, query = path.partition("?")
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, "wsgi.input": io.BytesIO(content)}
    environ |= {"CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(content))} if content else {}
    environ |= headers
    setup_testing_defaults(environ)
    statuses: list[str] = []
    answer: Any = application(environ, lambda status, headers, exc_info=None: statuses.append(status))
    b"".join(answer)
    answer.close()
    return statuses[0]


def garbage_of(call: Callable[[], Any]) -> list[str]:
    """The types of objects that a call leaves to the garbage collector."""
    call()  # objects that are made only once may have reference cycles
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        call()
        gc.collect()
        return [type(each).__qualname__ for each in gc.garbage]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


class Caller(threading.Thread):
    """Runs a call beside the test, on a database connection of its own."""

    def __init__(self, call: Callable[[], Any], barrier: threading.Barrier | None = None) -> None:
        super().__init__(daemon=True)
        self.call, self.barrier = call, barrier
        self.result: Any = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        from django.db import connections

        try:
            if self.barrier:
                self.barrier.wait(20)
            self.result = self.call()
        except BaseException as error:
            self.error = error
        finally:
            connections.close_all()

    def answer(self) -> Any:
        self.join(60)
        assert not self.is_alive(), "still running"
        if self.error:
            raise self.error
        return self.result


def at_once(calls: Iterable[Callable[[], Any]]) -> list[Any]:
    """Runs all calls concurrently in threads. Returns their results in order."""
    calls = list(calls)
    barrier = threading.Barrier(len(calls))
    return [caller.answer() for caller in [Caller(call, barrier) for call in calls]]


def somebody_waits_for_a_lock() -> bool:
    """Whether a session of this database waits for another one's lock."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(cursor.fetchone()[0])


def statements_of(call: Callable[[], Any]) -> list[str]:
    """The SQL of a call, without BEGIN, COMMIT and savepoints."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        call()
    return [query["sql"] for query in captured if not query["sql"].startswith(BRACKETS)]


def ids(answer: Any) -> list[str]:
    """The ids on a page of a list."""
    assert answer.status_code == 200, answer.content
    return [each["id"] for each in answer.json()["results"]]


def walk(api: Any, url: str, way: str = "next") -> list[list[str]]:
    """The ids on each of the pages from ``url`` on."""
    pages = []
    while url:
        assert len(pages) < 100, "the pages do not end"
        answer = api.get(url)
        pages.append(ids(answer))
        url = answer.json()[way]
    return pages


def rows_read(statement: str) -> int:
    """The number of rows that a statement reads. It is executed, and its changes are rolled back."""
    from django.db import connection, transaction

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) " + statement)
        (plan,) = cursor.fetchone()
        transaction.set_rollback(True)
    nodes, total = [(json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]], 0
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        if "Relation Name" in node and node["Node Type"] != "ModifyTable":
            dropped = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
            total += int((node["Actual Rows"] + dropped) * node["Actual Loops"])
    return total


def form_fields(page: str) -> dict[str, str]:
    """The fields of an HTML form as a browser submits them unchanged."""
    fields: dict[str, str] = {}
    unticked = set()
    for tag in re.findall("<input[^>]*>", page):
        attributes = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        name, is_box = attributes.get("name", "_"), attributes.get("type") == "checkbox"
        if is_box and " checked" not in tag:
            unticked.add(name)
        elif not name.startswith("_"):
            fields[name] = attributes.get("value", "on" if is_box else "")
    remembered = {name.removeprefix("initial-"): value for name, value in fields.items() if name.startswith("initial-")}
    return {**{name: value for name, value in remembered.items() if name not in unticked}, **fields}
