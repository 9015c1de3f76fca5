"""OpenTelemetry traces. Enabled if OTEL_EXPORTER_OTLP_ENDPOINT is set and the packages are installed.

`platform_core.http.context` carries the trace (W3C Trace Context) in any case. A span is the child of the one that a
traceparent names, and becomes the traceparent of the context inside its block. Peers, and the workers that deliver
outbox rows, continue the same trace: an order is one trace through all services.
"""

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from platform_core import __version__
from platform_core.http.context import current, entered, span_of

EXPORT_TIMEOUT_SECONDS = 1.0
"""How long a process waits at its end for its last spans to be sent."""
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_LONGEST = 2000
log = logging.getLogger("platform.tracing")

_api: Any = None
_tracer: Any = None
_provider: Any = None


class Span:
    """A span. Does nothing when tracing is off."""

    def __init__(self, real: Any = None) -> None:
        self._real = real

    def note(self, attributes: Mapping[str, Any]) -> None:
        """Add attributes."""
        if self._real is not None:
            self._real.set_attributes(attributes)

    def rename(self, name: str) -> None:
        """Change the span's name."""
        if self._real is not None:
            self._real.update_name(name)

    def failed(self, error: Exception | None = None) -> None:
        """Mark the span as failed, with the error if there is one."""
        if self._real is not None:
            self._real.set_status(_api.StatusCode.ERROR, str(error) if error else None)
            if error is not None:
                self._real.record_exception(error)


_UNTRACED = Span()


def start(service: str) -> None:
    """Start tracing. Call it in each process after the fork, because a thread of the process sends the spans."""
    if not any(os.environ.get(name) for name in _ENDPOINTS):
        return
    try:
        exporter = _exporter()
    except ImportError as error:
        data = {"missing": error.name, "remedy": "pip install -r requirements-tracing.txt"}
        log.warning("tracing.unavailable", extra={"data": data})
        return
    _send_to(exporter, service)


def _exporter() -> Any:
    """Raises ImportError."""
    import opentelemetry.sdk.trace.export  # noqa: F401  # raises ImportError here if it is missing
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


def _send_to(exporter: Any, service: str) -> None:
    global _api, _tracer, _provider
    from opentelemetry import trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": service, "service.version": __version__})
    _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    _provider.add_span_processor(BatchSpanProcessor(exporter))
    _api, _tracer = trace, _provider.get_tracer("platform_core", __version__)


def stop() -> None:
    """Send the remaining spans, for at most EXPORT_TIMEOUT_SECONDS."""
    global _tracer, _provider
    if _provider is not None:
        sending = threading.Thread(target=_provider.shutdown, daemon=True)
        sending.start()
        sending.join(EXPORT_TIMEOUT_SECONDS)
    _tracer = _provider = None


def is_on() -> bool:
    """Whether spans are sent."""
    return _tracer is not None


@contextmanager
def span(
    name: str, kind: str, parent: str | None = None, attributes: Mapping[str, Any] | None = None
) -> Iterator[Span]:
    """Trace the block as a span. ``kind`` is `server`, `client`, `consumer` or `internal`.

    ``parent`` is the traceparent of its parent; by default that of the context. An empty or malformed one starts a new
    trace. An exception marks the span as failed.
    """
    if _tracer is None:
        yield _UNTRACED
        return
    under = _under(current().traceparent if parent is None else parent)
    of_kind = _api.SpanKind[kind.upper()]
    with _tracer.start_as_current_span(name, context=under, kind=of_kind, attributes=attributes) as real:
        known = real.get_span_context()
        if not known.is_valid:
            yield _UNTRACED
            return
        traceparent = f"00-{known.trace_id:032x}-{known.span_id:016x}-{known.trace_flags:02x}"
        with entered(replace(current(), traceparent=traceparent)):
            yield Span(real)


def _under(traceparent: str) -> Any:
    """OpenTelemetry's context whose current span is the one that the traceparent names."""
    from opentelemetry.context import Context

    ids = span_of(traceparent)
    if ids is None:
        return Context()
    trace_id, span_id, flags = (int(part, 16) for part in ids)
    remote = _api.SpanContext(trace_id, span_id, is_remote=True, trace_flags=_api.TraceFlags(flags))
    return _api.set_span_in_context(_api.NonRecordingSpan(remote), Context())


@contextmanager
def statement(sql: str) -> Iterator[None]:
    """Trace a database statement as a child of the current span. Without one it starts no trace.

    ``sql`` contains no values, so the trace contains none.
    """
    if _tracer is None or not _api.get_current_span().is_recording():
        yield
        return
    attributes = {"db.system.name": "postgresql", "db.query.text": sql[:_LONGEST]}
    verb = sql.split(maxsplit=1)[0].upper() if sql.strip() else "SQL"
    with _tracer.start_as_current_span(verb, kind=_api.SpanKind.CLIENT, attributes=attributes):
        yield
