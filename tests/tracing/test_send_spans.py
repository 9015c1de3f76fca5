"""Sending of spans, with and without a collector."""

import pytest
from opentelemetry import trace

from platform_core.http.context import Context, current, entered
from platform_core.observability import tracing
from platform_core.topology import ORDER, PRODUCT, USER
from tests.e2e.stack import Shop

GIVEN = f"00-{'ab' * 16}-{'cd' * 8}-01"
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def started(monkeypatch, sink):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", sink.url)
    tracing.start("a-service")
    yield
    tracing.stop()


def test_our_context_agrees_with_opentelemetrys(started):
    with entered(Context(traceparent=GIVEN)):
        with tracing.span("outer", "internal"):
            outer = trace.get_current_span().get_span_context()
            assert current().traceparent == f"00-{outer.trace_id:032x}-{outer.span_id:016x}-01"
            assert f"{outer.trace_id:032x}" == "ab" * 16
            with tracing.span("inner", "client"):
                inner = trace.get_current_span().get_span_context()
                assert current().traceparent == f"00-{outer.trace_id:032x}-{inner.span_id:016x}-01"
        assert current().traceparent == GIVEN


def test_remaining_spans_are_sent_when_the_process_ends(started, sink):
    with entered(Context(traceparent=GIVEN)), tracing.span("the last one", "internal"):
        pass
    tracing.stop()
    (span,) = [span for span in sink.spans if span.name == "the last one"]
    assert (span.service, span.trace, span.parent) == ("a-service", "ab" * 16, "cd" * 8)


@pytest.mark.parametrize("given", ["", "nonsense", f"00-{'0' * 32}-{'cd' * 8}-01", f"00-{'ab' * 16}-{'0' * 16}-01"])
def test_a_malformed_parent_is_none(started, given):
    with tracing.span("first", "server", parent=given):
        assert current().trace_id not in ("", "0" * 32, "ab" * 16)


def test_a_trace_that_is_not_sampled_goes_on_without_being_sent(started, sink):
    with entered(Context(traceparent=GIVEN[:-2] + "00")), tracing.span("unseen", "internal"):
        assert current().trace_id == "ab" * 16
        assert current().traceparent.endswith("-00")
    tracing.stop()
    assert "unseen" not in {span.name for span in sink.spans}


def test_an_error_that_passes_through_marks_the_span(started, sink):
    with pytest.raises(KeyError), tracing.span("broken", "internal"):
        raise KeyError("x")
    tracing.stop()
    assert [span.is_failed for span in sink.spans if span.name == "broken"] == [True]


def test_without_a_collector_orders_succeed_and_the_platform_stops_quickly(own_stack):
    shop = Shop(own_stack.up(OTEL_EXPORTER_OTLP_ENDPOINT=NOBODY, OTEL_BSP_SCHEDULE_DELAY="100"))
    user = shop.made(USER, "/api/users", name="Ann", email="ann@example.com")
    product = shop.made(PRODUCT, "/api/products", name="Lamp", price=19.99, stock=10)
    shop.made(ORDER, "/api/orders", userId=user["id"], productId=product["id"], quantity=1)
    assert own_stack.end() == 0
    assert "Traceback" not in own_stack.said()
