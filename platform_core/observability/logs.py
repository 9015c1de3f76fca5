"""JSON logs on stdout: one object per line, with the request's ids. docs/operations.md describes the fields.

``LOG_FORMAT=text`` writes lines for people, with colours on a terminal; `manage.py up` uses it on terminals.
"""

import logging
import os
import sys
import traceback
from datetime import UTC, datetime
from typing import IO, Any

import msgspec

from platform_core.http import context
from platform_core.topology import SERVICES

# Skip the collection of data that no line contains (Python's logging HOWTO, "Optimization").
logging._srcfile = None
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False

_encode = msgspec.json.Encoder(enc_hook=str, decimal_format="number").encode

LEVELS = {"debug": "DEBUG", "info": "INFO", "warn": "WARNING", "error": "ERROR"}
_OWN = frozenset(("time", "level", "service", "event", "logger", "requestId", "traceId", "exception"))
"""The fields that the formatter sets."""
_WIRE_LEVELS = {name: wire for wire, name in LEVELS.items()} | {"CRITICAL": "error"}


class JsonFormatter(logging.Formatter):
    """``logger.info("order.placed", extra={"data": {"orderId": "1"}})`` → the event's name and its fields."""

    def __init__(self, service: str = "platform") -> None:
        super().__init__()
        self.service = service

    def format(self, record: logging.LogRecord) -> str:
        return _encode(fields_of(record, self.service)).decode("utf-8", "backslashreplace")


def fields_of(record: logging.LogRecord, service: str) -> dict[str, Any]:
    """All fields of a log line, in the order of the docs.

    ``data`` cannot replace a field of every line: its member ``service`` becomes ``data.service``.
    """
    ctx = context.current()
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC),
        "level": _WIRE_LEVELS.get(record.levelname, record.levelname.lower()),
        "service": service,
        "event": record.getMessage(),
        "logger": record.name,
    }
    if ctx.request_id != "-":
        line["requestId"] = ctx.request_id
        line["traceId"] = ctx.trace_id
    for name, value in (getattr(record, "data", None) or {}).items():
        line[f"data.{name}" if name in _OWN else name] = value
    if record.exc_info and record.exc_info[0]:
        line["exception"] = "".join(traceback.format_exception(*record.exc_info))
    return line


class TextFormatter(logging.Formatter):
    """Formats lines for people: ``12:03:04.123 order-service  info  GET /api/docs 200 45.1 ms user=7 requestId=…``."""

    def __init__(self, service: str = "platform", *, colours: bool | None = None) -> None:
        super().__init__()
        self.service = service
        self.colours = has_colours() if colours is None else colours

    def format(self, record: logging.LogRecord) -> str:
        line = fields_of(record, self.service)
        exception = line.pop("exception", "")
        clock = line["time"].astimezone().strftime("%H:%M:%S.%f")[:-3]
        what = _request(line) if line["event"] == "request" else line["event"]
        rest = " ".join(f"{name}={value}" for name, value in line.items() if name not in _SHOWN_ELSEWHERE)
        parts = (
            self.paint(clock, _DIM),
            self.paint(f"{line['service']:20}", _service_colour(line["service"])),
            self.paint(f"{line['level']:5}", _LEVEL_COLOURS.get(line["level"], "")),
            _printable(what),
            self.paint(_printable(rest), _DIM),
        )
        text = " ".join(part for part in parts if part)
        return f"{text}\n{_printable(exception.rstrip(), keep=_LAYOUT)}" if exception else text

    def paint(self, text: str, colour: str) -> str:
        """The text in a colour, if colours are on. ``colour`` is a parameter of ANSI's SGR, such as ``31``."""
        return f"\x1b[{colour}m{text}\x1b[0m" if self.colours and colour and text else text


_DIM = "2"
_LAYOUT = "\n\t"
_LEVEL_COLOURS = {"debug": _DIM, "info": "32", "warn": "33", "error": "1;31"}
_SERVICE_COLOURS = dict(zip((service.name for service in SERVICES), ("36", "35", "34", "33", "32"), strict=False))
_REQUEST = frozenset(("method", "path", "route", "status", "durationMs", "bytes", "client"))
_SHOWN_ELSEWHERE = _REQUEST | {"time", "level", "service", "event", "logger", "traceId"}


def has_colours() -> bool:
    """Whether stdout is a terminal and NO_COLOR (https://no-color.org) is not set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _service_colour(name: str) -> str:
    return _SERVICE_COLOURS.get(name, "37")


def _request(line: dict[str, Any]) -> str:
    return f"{line['method']} {line['path']} {line['status']} {line['durationMs']:g} ms"


def _printable(text: str, keep: str = "") -> str:
    """Escape control characters: a client chooses the path and could otherwise forge lines or control the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


FORMATTERS = {"json": "JsonFormatter", "text": "TextFormatter"}


def logging_config(service: str, level: str, form: str = "json") -> dict[str, Any]:
    """A ``logging.config`` dictionary; Django's, gunicorn's and our loggers share one handler."""
    formatter = {"()": f"platform_core.observability.logs.{FORMATTERS[form]}", "service": service}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"chosen": formatter},
        "handlers": {"stdout": {"class": "logging.StreamHandler", "stream": sys.stdout, "formatter": "chosen"}},
        "root": {"handlers": ["stdout"], "level": LEVELS[level]},
        "loggers": {
            # `RequestMiddleware` logs each request; Django would log every 4xx again.
            "django.request": {"level": "CRITICAL"},
            "django.security.DisallowedHost": {"level": "CRITICAL"},
            "django": {"handlers": [], "propagate": True, "level": "INFO"},
            "django.db.backends": {"level": "INFO"},
            "django.server": {"handlers": [], "propagate": False},
            "gunicorn.error": {"handlers": [], "propagate": True, "level": "WARNING" if level != "debug" else "INFO"},
            "urllib3": {"level": "ERROR"},
        },
    }


def own_stdout() -> IO[bytes]:
    """Reserve stdout for a command's data, and return it as a binary file.

    Everything else that this process writes to stdout from now on, such as logs, goes to stderr.
    """
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return out
