"""JSON logs on stdout: one object a line, with the request's ids on each."""

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

import msgspec

from platform_core import context

_encode = msgspec.json.Encoder(enc_hook=str, decimal_format="number").encode

LEVELS = {"debug": "DEBUG", "info": "INFO", "warn": "WARNING", "error": "ERROR"}
_WIRE_LEVELS = {name: wire for wire, name in LEVELS.items()} | {"CRITICAL": "error"}


class JsonFormatter(logging.Formatter):
    """``logger.info("order.placed", extra={"data": {"orderId": "1"}})`` → the event's name and its fields."""

    def __init__(self, service: str = "platform") -> None:
        super().__init__()
        self.service = service

    def format(self, record: logging.LogRecord) -> str:
        ctx = context.current()
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": _WIRE_LEVELS.get(record.levelname, record.levelname.lower()),
            "service": self.service,
            "event": record.getMessage(),
            "logger": record.name,
        }
        if ctx.request_id != "-":
            line["requestId"] = ctx.request_id
            line["traceId"] = ctx.trace_id
        line.update(getattr(record, "data", None) or {})
        if record.exc_info and record.exc_info[0]:
            line["exception"] = "".join(traceback.format_exception(*record.exc_info))
        return _encode(line).decode("utf-8", "backslashreplace")


def logging_config(service: str, level: str) -> dict[str, Any]:
    """A ``logging.config`` dictionary; Django's, gunicorn's and our own loggers all end in one handler."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "platform_core.logs.JsonFormatter", "service": service}},
        "handlers": {"stdout": {"class": "logging.StreamHandler", "stream": sys.stdout, "formatter": "json"}},
        "root": {"handlers": ["stdout"], "level": LEVELS[level]},
        "loggers": {
            # One line per request is ours; Django's own repeats it for every 4xx.
            "django.request": {"level": "CRITICAL"},
            "django.security.DisallowedHost": {"level": "CRITICAL"},
            "django": {"handlers": [], "propagate": True, "level": "INFO"},
            "django.db.backends": {"level": "INFO"},
            "django.server": {"handlers": [], "propagate": False},
            "gunicorn.error": {"handlers": [], "propagate": True, "level": "WARNING" if level != "debug" else "INFO"},
            "urllib3": {"level": "ERROR"},
        },
    }
