"""One order is one trace through all services and workers."""

import json
import secrets

import pytest

from platform_core.topology import NOTIFICATION, ORDER, PRODUCT, USER
from tests.e2e.stack import eventually

SEND = "POST /api/notifications/send"


def begun():
    """A traceparent of a browser's own, its trace and its span."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return f"00-{trace}-{span}-01", trace, span


def shop_of(shop):
    user = shop.made(USER, "/api/users", name="Ann", email=f"{secrets.token_hex(4)}@example.com")
    product = shop.made(PRODUCT, "/api/products", name="Lamp", price=19.99, stock=10)
    return {"userId": user["id"], "productId": product["id"], "quantity": 1}


@pytest.fixture(scope="module")
def followed(traced, sink):
    """The spans of one order, from the request to the delivered mail; and the browser's span."""
    traceparent, trace, browser = begun()
    answer = traced.ask("POST", ORDER, "/api/orders", json=shop_of(traced), headers={"traceparent": traceparent})
    assert answer.status_code == 201
    deliveries = {(ORDER.name, "deliver notification.send"), (NOTIFICATION.name, "deliver notification.deliver")}
    eventually("both workers have delivered", lambda: deliveries <= {(s.service, s.name) for s in sink.of(trace)})
    whole = {span.id for span in sink.of(trace)} | {browser}
    eventually("all parents are there", lambda: {span.parent for span in sink.of(trace)} <= whole | ids(sink, trace))
    return sink.of(trace), browser


def ids(sink, trace):
    return {span.id for span in sink.of(trace)}


def one(spans, service, name, kind):
    (found,) = [span for span in spans if (span.service, span.name, span.kind) == (service.name, name, kind)]
    return found


def test_every_span_has_a_parent_and_the_root_is_the_browsers(followed):
    spans, browser = followed
    known = {span.id: span for span in spans}
    assert {span.parent for span in spans} - known.keys() == {browser}
    assert [span.name for span in spans if span.parent == browser] == ["POST /api/orders"]
    assert {span.service for span in spans} == {service.name for service in (USER, PRODUCT, ORDER, NOTIFICATION)}


@pytest.mark.parametrize(
    "peer, method, route",
    [(USER, "GET", "/api/users/{pk}"), (PRODUCT, "PUT", "/api/stock-reservations/{order_id}")],
    ids=["user", "product"],
)
def test_a_services_spans_are_children_of_the_call(followed, peer, method, route):
    spans, _ = followed
    call = one(spans, ORDER, f"{method} {peer.name}", "client")
    assert call.parent == one(spans, ORDER, "POST /api/orders", "server").id
    (asked,) = [span for span in spans if span.parent == call.id]
    assert (asked.service, asked.name, asked.kind) == (peer.name, f"{method} {route}", "server")


def test_workers_continue_the_trace_in_the_outbox(followed):
    spans, _ = followed
    delivery = one(spans, ORDER, "deliver notification.send", "consumer")
    assert delivery.parent == one(spans, ORDER, "POST /api/orders", "server").id
    call = one(spans, ORDER, f"POST {NOTIFICATION.name}", "client")
    assert call.parent == delivery.id
    taken = one(spans, NOTIFICATION, SEND, "server")
    assert taken.parent == call.id
    assert one(spans, NOTIFICATION, "deliver notification.deliver", "consumer").parent == taken.id


def test_statements_are_in_it_without_their_values(followed):
    spans, _ = followed
    statements = [span for span in spans if span.attributes.get("db.system.name") == "postgresql"]
    assert {span.service for span in statements} >= {USER.name, PRODUCT.name, ORDER.name, NOTIFICATION.name}
    texts = " ".join(span.attributes["db.query.text"] for span in statements)
    assert "INSERT INTO" in texts
    assert "Lamp" not in texts and "@example.com" not in texts


def test_log_lines_carry_the_same_trace(traced):
    traceparent, trace, _ = begun()
    traced.ask("GET", USER, "/api/users", headers={"traceparent": traceparent})
    eventually("it is in the log", lambda: trace in traced.stack.said())
    lines = [json.loads(line) for line in traced.stack.said().splitlines() if trace in line and line.startswith("{")]
    assert {line["traceId"] for line in lines} == {trace}


def test_failures_are_marked_and_refusals_are_not(traced, sink):
    traceparent, trace, _ = begun()
    wanted = {"userId": "999999", "productId": "1", "quantity": 1}
    answer = traced.ask("POST", ORDER, "/api/orders", json=wanted, headers={"traceparent": traceparent})
    assert answer.status_code == 422
    eventually("its span is there", lambda: any(span.service == ORDER.name for span in sink.of(trace)))
    eventually("the peer's, too", lambda: len([s for s in sink.of(trace) if s.kind == "server"]) == 2)
    failed = {(span.kind, span.is_failed) for span in sink.of(trace) if "db.system.name" not in span.attributes}
    assert failed == {("server", False), ("client", True)}


def test_a_request_without_a_trace_starts_one(traced, sink):
    traced.ask("GET", PRODUCT, "/api/products/999999")
    eventually(
        "a root", lambda: [s for s in sink.spans if s.service == PRODUCT.name and not s.parent and "404" in str(s)]
    )


def test_scrapes_and_health_checks_make_no_traces(traced, sink):
    traceparent, trace, _ = begun()
    for path in ("/health", "/metrics"):
        assert traced.ask("GET", ORDER, path, headers={"traceparent": traceparent}).status_code == 200
    traced.ask("GET", ORDER, "/api/orders/999999", headers={"traceparent": traceparent})
    eventually("the last one is there", lambda: [s for s in sink.of(trace) if s.kind == "server"])
    assert {span.name for span in sink.of(trace) if span.kind == "server"} == {"GET /api/orders/{pk}"}
