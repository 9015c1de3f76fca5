"""Tracing is off by default, and missing packages are reported. tests/tracing tests it with the packages."""

import logging
import sys

import pytest

from platform_core.http.context import Context, current, entered
from platform_core.observability import tracing

GIVEN = f"00-{'ab' * 16}-{'cd' * 8}-01"


@pytest.fixture(autouse=True)
def nowhere(monkeypatch):
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    yield
    tracing.stop()


@pytest.mark.parametrize("endpoint", [None, ""])
def test_without_an_endpoint_nothing_is_traced_or_logged(monkeypatch, caplog, endpoint):
    if endpoint is not None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    tracing.start("order-service")
    assert not tracing.is_on()
    assert not caplog.records


def test_an_endpoint_without_the_packages_gives_instructions(monkeypatch, caplog):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", None)
    with caplog.at_level(logging.WARNING):
        tracing.start("order-service")
    assert not tracing.is_on()
    (record,) = caplog.records
    assert record.getMessage() == "tracing.unavailable"
    assert "requirements-tracing.txt" in record.data["remedy"]
    assert record.data["missing"].startswith("opentelemetry")


def test_without_tracing_the_callers_trace_is_kept():
    with entered(Context(traceparent=GIVEN)), tracing.span("work", "internal") as span:
        span.note({"a": 1})
        span.rename("other")
        span.failed(ValueError("x"))
        assert current().traceparent == GIVEN
