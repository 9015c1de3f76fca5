"""The formats of log lines: JSON and console."""

import json
import logging
import sys

import pytest

from platform_core.http.context import Context, entered
from platform_core.observability.logs import JsonFormatter, TextFormatter

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def record():
    def record(event: str, level: int = logging.INFO, exc_info=None, **data) -> logging.LogRecord:
        made = logging.LogRecord("platform.test", level, __file__, 1, event, (), exc_info)
        made.data = data
        return made

    return record


REQUEST = {
    "method": "GET",
    "path": "/api/orders",
    "route": "/api/orders",
    "status": 200,
    "durationMs": 1.5,
    "bytes": 2,
    "client": "",
}


def test_a_line_is_one_object_with_the_ids_of_the_request(record):
    with entered(Context("req-1", TRACE)):
        line = json.loads(JsonFormatter("order-service").format(record("order.recovered", orderId="7")))
    assert (line["service"], line["event"], line["orderId"]) == ("order-service", "order.recovered", "7")
    assert (line["requestId"], line["traceId"]) == ("req-1", TRACE.split("-")[1])


@pytest.mark.parametrize("context", [Context("req-1", TRACE), Context()], ids=["a request", "no request"])
def test_data_cannot_replace_the_fields_of_every_line(record, context):
    names = ("time", "level", "service", "event", "logger", "requestId", "traceId", "exception")
    with entered(context):
        plain = json.loads(JsonFormatter("order-service").format(record("feed.back")))
        odd = record("feed.back")
        odd.data = {**{name: f"other {name}" for name in names}, "peer": "user-service"}
        line = json.loads(JsonFormatter("order-service").format(odd))
    kept = {f"data.{name}": f"other {name}" for name in names}
    assert line == {**plain, "time": line["time"], "peer": "user-service", **kept}
    text = TextFormatter("order-service", colours=False).format(odd)
    assert "order-service        info  feed.back" in text and "data.service=other service" in text


def test_the_console_format_shows_requests_as_http(record):
    with entered(Context("req-1", TRACE)):
        line = TextFormatter("order-service", colours=False).format(record("request", user="7", **REQUEST))
    assert line.endswith("order-service        info  GET /api/orders 200 1.5 ms requestId=req-1 user=7")


def test_the_console_format_shows_complete_tracebacks(record):
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        line_record = record("unhandled", logging.ERROR, sys.exc_info())
    lines = TextFormatter("order-service", colours=False).format(line_record).splitlines()
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-2:] == ["ValueError: first", "second"]


@pytest.mark.parametrize("path", ["/a\nb", "/a\x1b[2Jb", "/a\u2028b"], ids=["a new line", "an escape", "a separator"])
def test_paths_cannot_inject_lines_or_control_codes_into_the_console(record, path):
    line_record = record("request", **REQUEST | {"path": path})
    line = TextFormatter("order-service", colours=False).format(line_record)
    assert line.isprintable()


def test_colours_are_for_terminals_alone(record, monkeypatch):
    assert "\x1b[" not in TextFormatter("order-service").format(record("order.recovered"))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert "\x1b[" in TextFormatter("order-service").format(record("order.recovered"))
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in TextFormatter("order-service").format(record("order.recovered"))
