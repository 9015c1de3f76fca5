"""A collector in the tests' own process: it takes OTLP over HTTP and keeps the spans."""

import gzip
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Wire

from tests.e2e.stack import Shop, Stack

SOON = {"OTEL_BSP_SCHEDULE_DELAY": "200"}


@dataclass(frozen=True, slots=True)
class Span:
    service: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    is_failed: bool


@dataclass
class Sink:
    spans: list[Span] = field(default_factory=list)
    url: str = ""

    def of(self, trace: str) -> list[Span]:
        return [span for span in list(self.spans) if span.trace == trace]

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = attributes_of(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [kept(service, span) for span in scope.spans]


def attributes_of(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


def kept(service: str, span: Any) -> Span:
    kind = Wire.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower()
    ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
    return Span(service, span.name, kind, *ids, attributes_of(span.attributes), span.status.code == 2)


@pytest.fixture(scope="session")
def sink() -> Iterator[Sink]:
    found = Sink()

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.take(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        found.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield found
        server.shutdown()


@pytest.fixture
def own_stack() -> Iterator[Stack]:
    """A platform that is not started yet. It is stopped after the test."""
    with tempfile.TemporaryDirectory(prefix="platform-tracing-") as name:
        Path(name).chmod(0o755)  # as root the embedded Postgres runs as another user
        stack = Stack(Path(name))
        try:
            yield stack
        finally:
            stack.stop()


@pytest.fixture(scope="module")
def traced(sink: Sink) -> Iterator[Shop]:
    """A running platform that sends its spans to the sink."""
    with tempfile.TemporaryDirectory(prefix="platform-tracing-") as name:
        Path(name).chmod(0o755)
        stack = Stack(Path(name))
        try:
            yield Shop(stack.up(OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, **SOON))
        finally:
            stack.stop()
