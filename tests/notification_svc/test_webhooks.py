"""Webhooks: registered by staff, filled from the feeds, delivered to a real HTTP server."""

import base64
import hashlib
import hmac
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils.timezone import now

from notification_svc.webhooks import consuming, posting, services
from notification_svc.webhooks.models import WebhookEndpoint, WebhookPosition
from notification_svc.webhooks.services import deliveries_of
from notification_svc.webhooks.targets import is_public
from platform_core import outbox
from platform_core.conf import ROOT
from platform_core.outbox import depth
from platform_core.outbox.models import OutboxMessage
from tests import people
from tests.notification_svc.receivers import Receiver, deliver_webhooks

pytestmark = pytest.mark.django_db(transaction=True)
ORDER, USER = "order-service", "user-service"
LAST_SEQUENCE = "9" * 18


class Feed:
    """A service's feed of events, as it answers over HTTP."""

    def __init__(self, peers: Any, base: str, source: str) -> None:
        self.source, self.events, self.asked = source, list[dict[str, Any]](), list[Any]()
        self.horizon = 10
        self.refusal: str | None = None
        peers.add_callback("GET", re.compile(re.escape(base) + r"/api/events"), callback=self.answer)

    def append(self, type: str, subject: str = "7", at: datetime | None = None, **data: Any) -> dict[str, Any]:
        self.horizon += 1
        event = {
            "specversion": "1.0",
            "id": f"1-{self.horizon - 1}-{len(self.events) + 1}",
            "type": type,
            "source": self.source,
            "subject": subject,
            "time": (at or now()).astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            "data": {"version": 1, "total": 19.90, **data},
        }
        self.events.append(event)
        return event

    def answer(self, request: Any) -> Any:
        self.asked.append(request)
        after = request.params.get("lastEventId")
        if after and self.refusal:
            body = {"type": "about:blank", "title": "Gone", "status": 410, "detail": "Gone.", "code": self.refusal}
            return 410, {"Content-Type": "application/problem+json"}, json.dumps(body)
        place = [int(part) for part in (after or "0-0-0").split("-")]
        found = [e for e in self.events if [int(part) for part in e["id"].split("-")] > place]
        headers = {"Feed-Position": f"1-{self.horizon - 1}-{LAST_SEQUENCE}"}
        body = json.dumps(found[: int(request.params["limit"])])
        return 200, {**headers, "Content-Type": "application/cloudevents-batch+json"}, body


@pytest.fixture
def feed(peers, settings) -> Feed:
    return Feed(peers, settings.PEER_URLS[ORDER], ORDER)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


@pytest.fixture
def register(api, receiver):
    def register(*events: str, url: str = "", **fields: Any) -> Any:
        body = {"url": url or receiver.url, "events": list(events or ["order.confirmed"]), **fields}
        answer = api.post("/api/webhooks", body)
        assert answer.status_code == 201, answer.content
        return answer.json()

    return register


def consume(source: str = ORDER) -> None:
    feeds = consuming.Feeds((source,))
    try:
        while feeds.run(threading.Event()) or feeds.is_reading:
            time.sleep(0.01)
    finally:
        feeds.finish()


def due_now() -> None:
    OutboxMessage.objects.update(available_at=now() - timedelta(seconds=1))


def deliveries(api: Any, webhook: Any, query: str = "") -> list[dict[str, Any]]:
    return list(api.get(f"/api/webhooks/{webhook['id']}/deliveries{query}").json()["results"])


def signature_of(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    """As the specification says, written without our code."""
    key = base64.b64decode(secret[len("whsec_") :])
    signed = message_id.encode() + b"." + timestamp.encode() + b"." + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def test_an_event_arrives_once_signed_and_as_in_the_feed(api, feed, receiver, register):
    webhook = register("order.confirmed", "order.cancelled")
    consume()
    event = feed.append("order.confirmed", customer="Zoë")
    feed.append("order.shipped")
    consume()
    consume()
    deliver_webhooks()
    (got,) = receiver.received
    assert json.loads(got.body) == event
    assert b"19.9" in got.body
    assert got.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert got.headers["user-agent"].startswith("notification-service/")
    parts = [got.headers[f"webhook-{name}"] for name in ("id", "timestamp")]
    assert got.headers["webhook-signature"] == signature_of(webhook["secret"], *parts, got.body)
    assert abs(int(parts[1]) - time.time()) < 60
    (shown,) = deliveries(api, webhook)
    assert shown["deliveredAt"] and shown["createdAt"]
    assert (shown["status"], shown["attempts"], shown["eventType"]) == ("delivered", 1, "order.confirmed")
    assert (shown["eventId"], shown["source"], shown["messageId"]) == (event["id"], ORDER, parts[0])


def test_the_signature_is_accepted_by_a_verifier_that_is_not_ours(feed, receiver, register):
    from standardwebhooks.webhooks import Webhook, WebhookVerificationError

    webhook = register()
    feed.append("order.confirmed")
    consume()
    deliver_webhooks()
    (got,) = receiver.received
    assert Webhook(webhook["secret"]).verify(got.body.decode(), got.headers)["subject"] == "7"
    with pytest.raises(WebhookVerificationError):
        Webhook(webhook["secret"]).verify(got.body.decode() + " ", got.headers)


def test_the_verifier_of_the_docs_accepts_a_delivery_and_nothing_else(feed, receiver, register):
    page = (ROOT / "docs" / "webhooks.md").read_text()
    found: dict[str, Any] = {}
    exec(page.partition("```python\n")[2].partition("```")[0], found)
    is_genuine = found["is_genuine"]
    webhook = register()
    feed.append("order.confirmed")
    consume()
    deliver_webhooks()
    (got,) = receiver.received
    assert is_genuine(webhook["secret"], got.headers, got.body)
    assert not is_genuine(webhook["secret"], got.headers, got.body + b" ")
    assert not is_genuine(webhook["secret"], {**got.headers, "webhook-id": "other"}, got.body)
    late = {**got.headers, "webhook-timestamp": str(int(time.time()) - 301)}
    assert not is_genuine(webhook["secret"], late, got.body)


def plan_of(rows: Any) -> str:
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE outbox_outboxmessage")
        cursor.execute(f"EXPLAIN {rows}") if isinstance(rows, str) else None
        return "\n".join(line for (line,) in cursor.fetchall()) if isinstance(rows, str) else rows.explain()


def test_many_waiting_deliveries_do_not_hide_other_messages_and_cost_health_nothing(api, register):
    webhook = register()
    rows = [
        OutboxMessage(kind="webhook.deliver", destination=f"webhook:{n % 500 + 1000}", aggregate="o:1", key=f"w{n}",
                      payload={}, request_id="-")
        for n in range(5000)
    ]  # fmt: skip
    OutboxMessage.objects.bulk_create(rows)
    assert depth.depth()[:3] == (0, None, 0)
    assert "outbox_without_webhooks" in plan_of(f"SELECT id {depth._UNSETTLED} 10".replace("%s", "'pending'"))
    assert "outbox_webhooks" in plan_of(deliveries_of(1003).order_by("-id")[:50])
    assert deliveries(api, webhook) == []


def test_there_is_no_history(feed, receiver, register):
    feed.append("order.confirmed", at=now() - timedelta(minutes=1))
    register()
    consume()
    deliver_webhooks()
    assert receiver.received == []
    feed.append("order.confirmed", "8")
    consume()
    deliver_webhooks()
    assert [json.loads(got.body)["subject"] for got in receiver.received] == ["8"]


def test_an_event_right_after_the_registration_is_delivered_although_nobody_listened_before(feed, receiver, register):
    feed.append("order.confirmed", "1", at=now() - timedelta(minutes=1))
    consume()  # nobody listens: the position is kept at the end
    assert WebhookPosition.objects.get().last_event_id == f"1-{feed.horizon - 1}-{LAST_SEQUENCE}"
    asked = len(feed.asked)
    consume()
    assert len(feed.asked) == asked  # not asked again at once
    register()
    feed.append("order.confirmed", "2")
    consume()
    deliver_webhooks()
    assert [json.loads(got.body)["subject"] for got in receiver.received] == ["2"]


def test_the_feeds_are_told_the_consumers_name_and_what_it_has_read(feed, register):
    register()
    event = feed.append("order.confirmed")
    consume()
    consume()
    assert {request.headers["Feed-Consumer"] for request in feed.asked} == {"notification-service"}
    assert feed.asked[-1].params["lastEventId"] == event["id"]


def test_two_workers_store_one_message(feed, register):
    register()
    feed.append("order.confirmed")
    consume()
    before = WebhookPosition.objects.get()
    feed.append("order.confirmed")
    page = consuming._page(before, 100)
    consuming.take_in(before, page)
    consuming.take_in(before, page)  # the second worker has read the same page
    assert OutboxMessage.objects.count() == 2
    last = feed.append("order.confirmed")
    consume()
    consuming.take_in(before, page)  # the second worker is late
    assert WebhookPosition.objects.get().last_event_id == last["id"]


def elsewhere(act: Any) -> threading.Thread:
    """Runs ``act`` in a thread with its own connection to the database."""

    def run() -> None:
        try:
            act()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize(
    "end", [lambda pk: services.delete_endpoint(pk, None), lambda pk: services.update_endpoint(pk, None, enabled=False)]
)
def test_an_endpoint_that_ends_while_it_gets_messages_keeps_none_waiting(feed, register, monkeypatch, end):
    webhook = register()
    feed.append("order.confirmed")
    threads = []

    def enqueue(*messages: Any) -> None:
        threads.append(elsewhere(lambda: end(int(webhook["id"]))))
        time.sleep(0.5)
        outbox.enqueue(*messages)

    monkeypatch.setattr(consuming, "enqueue", enqueue)
    consume()
    threads[0].join(10)
    assert not OutboxMessage.objects.filter(state="pending").exists()


def test_an_outcome_is_stored_while_a_request_holds_the_endpoint(feed, receiver, register):
    """A request that disables an endpoint waits for its messages. If their outcomes waited for it, both would."""
    register()
    receiver.status = 500
    feed.append("order.confirmed")
    consume()
    held, stored = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            WebhookEndpoint.objects.select_for_update().get()
            held.set()
            stored.wait(10)

    thread = elsewhere(hold)
    assert held.wait(10)
    began = time.monotonic()
    deliver_webhooks()
    took = time.monotonic() - began
    stored.set()
    thread.join(10)
    assert took < 3.0
    assert "500" in OutboxMessage.objects.get().last_error


def test_a_message_that_is_known_does_not_hold_up_the_feed(feed, register):
    register()
    feed.append("order.confirmed")
    consume()
    WebhookPosition.objects.update(last_event_id="1-0-0")
    feed.append("order.confirmed", "8")
    consume()
    assert OutboxMessage.objects.count() == 2


@pytest.mark.parametrize("code, subjects", [("events_expired", ["8"]), ("events_lost", [])])
def test_deleted_and_lost_events_are_passed_over(feed, register, caplog, code, subjects):
    register()
    feed.append("order.confirmed", "1", at=now() - timedelta(days=40))
    consume()
    WebhookPosition.objects.update(last_event_id="1-99-5")
    feed.append("order.confirmed", "8")
    feed.refusal = code
    consume()
    feed.refusal = None
    assert [m.payload["subject"] for m in OutboxMessage.objects.order_by("pk")] == subjects
    assert any(r.message == "webhook.events_missed" for r in caplog.records)
    feed.append("order.confirmed", "9")
    consume()
    assert OutboxMessage.objects.first().payload["subject"] == "9"


def test_a_feed_that_does_not_answer_is_logged_once(peers, register, caplog):
    register()
    consume(USER)
    consume(USER)
    assert [r.message for r in caplog.records].count("webhook.feed_unreachable") == 1
    consuming._unreachable.clear()


def test_events_of_one_order_arrive_in_their_order(api, feed, receiver, register):
    webhook = register("order.confirmed", "order.shipped")
    receiver.status = 500
    feed.append("order.confirmed")
    feed.append("order.shipped")
    feed.append("order.confirmed", "8")
    consume()
    deliver_webhooks()
    assert sorted(json.loads(g.body)["subject"] for g in receiver.received) == ["7", "8"]
    receiver.status = 200
    receiver.received.clear()
    due_now()
    deliver_webhooks()
    mine = [json.loads(g.body) for g in receiver.received]
    assert [e["type"] for e in mine if e["subject"] == "7"] == ["order.confirmed", "order.shipped"]
    assert {d["status"] for d in deliveries(api, webhook)} == {"delivered"}


@pytest.mark.parametrize("status", [500, 503, 404, 400, 410, 302])
def test_what_is_not_a_2xx_is_tried_again(api, feed, receiver, register, status):
    webhook = register()
    receiver.status = status
    feed.append("order.confirmed")
    consume()
    deliver_webhooks()
    (waiting,) = deliveries(api, webhook)
    assert (waiting["status"], waiting["attempts"]) == ("pending", 1)
    assert str(status) in waiting["lastError"] and waiting["nextAttemptAt"]
    assert api.get(f"/api/webhooks/{webhook['id']}").json()["failingSince"]
    receiver.status = 200
    due_now()
    deliver_webhooks()
    (done,) = deliveries(api, webhook)
    assert (done["status"], done["attempts"], done["lastError"], done["nextAttemptAt"]) == ("delivered", 2, "", None)
    assert len({g.headers["webhook-id"] for g in receiver.received}) == 1
    assert api.get(f"/api/webhooks/{webhook['id']}").json()["failingSince"] is None


def test_a_redirect_is_not_followed(feed, receiver, register):
    def redirect(handler):
        handler.send_response(307)
        handler.send_header("Location", f"http://127.0.0.1:{receiver.port}/other")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    receiver.answer = redirect
    register()
    feed.append("order.confirmed")
    consume()
    deliver_webhooks()
    assert [got.path for got in receiver.received] == ["/hook"]
    assert "Redirects are not followed" in OutboxMessage.objects.get().last_error


def test_a_proxy_of_the_environment_is_not_used(feed, receiver, register, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    register()
    feed.append("order.confirmed")
    consume()
    deliver_webhooks()
    assert len(receiver.received) == 1


def test_an_endless_answer_is_not_read(feed, receiver, register):
    sent = []

    def pour(handler):
        handler.send_response(200)
        handler.end_headers()
        try:
            while len(sent) < 2000:
                handler.wfile.write(b"x" * 65_536)
                sent.append(1)
        except OSError:
            pass

    receiver.answer = pour
    register()
    feed.append("order.confirmed")
    consume()
    deliver_webhooks()
    assert OutboxMessage.objects.get().state == "delivered"
    assert len(sent) < 500


def test_a_trickled_answer_ends_with_the_time(feed, receiver, register, monkeypatch):
    monkeypatch.setattr(posting, "ATTEMPT_SECONDS", 0.5)

    def trickle(handler):
        try:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            for _ in range(100):
                handler.wfile.write(b"x")
                time.sleep(0.1)
        except OSError:
            pass

    receiver.answer = trickle
    register()
    feed.append("order.confirmed")
    consume()
    began = time.monotonic()
    deliver_webhooks()
    assert time.monotonic() - began < 5
    assert "did not answer in time" in OutboxMessage.objects.get().last_error


def test_a_slow_endpoint_does_not_delay_another(feed, receiver, register):
    slow = Receiver()
    slow.seconds = 3.0
    try:
        register(url=slow.url)
        register()
        for number in range(10):
            feed.append("order.confirmed", str(number))
        consume()
        began = time.monotonic()
        after: list[float] = []

        def fast_is_done() -> bool:
            if len(receiver.received) == 10:
                after.append(time.monotonic() - began)
            return bool(after)

        deliver_webhooks(until=fast_is_done)
        assert after[0] < 2.5
        assert len(slow.received) == 3  # its places
        assert OutboxMessage.objects.filter(state="delivered").count() == 13
    finally:
        slow.close()


def test_deliveries_use_one_database_connection(feed, receiver, register):
    receiver.seconds = 0.5
    register()
    for number in range(3):
        feed.append("order.confirmed", str(number))
    consume()
    seen = []

    def count() -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
            seen.append(cursor.fetchone()[0])
        return len(receiver.received) == 3

    before = count() or seen[-1]
    deliver_webhooks(until=count)
    assert max(seen) == before


def test_a_dead_letter_is_retried(api, feed, receiver, register, monkeypatch):
    webhook = register()
    receiver.status = 500
    feed.append("order.confirmed")
    consume()
    for _ in range(3):
        deliver_webhooks()
        due_now()
    OutboxMessage.objects.update(attempts=100)
    deliver_webhooks()
    (dead,) = deliveries(api, webhook, "?status=dead")
    assert dead["status"] == "dead" and "500" in dead["lastError"]
    receiver.status = 200
    answer = api.post(f"/api/webhooks/{webhook['id']}/deliveries/{dead['id']}/retry")
    assert answer.status_code == 200 and answer.json()["status"] == "pending"
    deliver_webhooks()
    assert deliveries(api, webhook)[0]["status"] == "delivered"
    again = api.post(f"/api/webhooks/{webhook['id']}/deliveries/{dead['id']}/retry")
    assert again.json()["status"] == "pending"  # a delivered one can be sent again
    deliver_webhooks()
    assert len({g.headers["webhook-id"] for g in receiver.received}) == 1
    assert deliveries(api, webhook, "?status=pending") == []


def test_a_waiting_delivery_is_hastened(api, feed, receiver, register):
    webhook = register()
    receiver.status = 500
    feed.append("order.confirmed")
    consume()
    deliver_webhooks()
    OutboxMessage.objects.update(available_at=now() + timedelta(hours=1))
    receiver.status = 200
    (waiting,) = deliveries(api, webhook)
    assert api.post(f"/api/webhooks/{webhook['id']}/deliveries/{waiting['id']}/retry").status_code == 200
    deliver_webhooks()
    assert deliveries(api, webhook)[0]["status"] == "delivered"


def test_a_retry_of_what_is_not_there(api, feed, register):
    webhook, other = register(), register(url="http://127.0.0.1:9/")
    feed.append("order.confirmed")
    consume()
    (mine,) = deliveries(api, webhook)
    assert api.post(f"/api/webhooks/{other['id']}/deliveries/{mine['id']}/retry").status_code == 404
    assert api.post(f"/api/webhooks/99/deliveries/{mine['id']}/retry").status_code == 404
    assert api.get("/api/webhooks/99/deliveries").status_code == 404
    notification = OutboxMessage.objects.create(
        kind="notification.deliver", destination="log", aggregate="n:1", key="n", payload={}, request_id="-"
    )
    assert api.post(f"/api/webhooks/{webhook['id']}/deliveries/{notification.pk}/retry").status_code == 404
    api.patch(f"/api/webhooks/{webhook['id']}", {"enabled": False})
    refused = api.post(f"/api/webhooks/{webhook['id']}/deliveries/{mine['id']}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "webhook_disabled")


def test_an_endpoint_that_fails_for_days_is_disabled(api, feed, receiver, register, caplog, settings):
    webhook = register()
    receiver.status = 500
    feed.append("order.confirmed")
    feed.append("order.confirmed", "8")
    consume()
    deliver_webhooks()
    assert api.get(f"/api/webhooks/{webhook['id']}").json()["enabled"] is True
    before = api.get(f"/api/webhooks/{webhook['id']}").headers["ETag"]
    WebhookEndpoint.objects.update(failing_since=now() - timedelta(days=settings.WEBHOOK_FAILING_DAYS, minutes=1))
    due_now()
    deliver_webhooks()
    answer = api.get(f"/api/webhooks/{webhook['id']}")
    after = answer.json()
    assert after["enabled"] is False and "have failed" in after["disabledReason"]
    assert answer.headers["ETag"] != before
    assert any(r.message == "webhook.disabled" for r in caplog.records)
    assert {d["status"] for d in deliveries(api, webhook)} == {"dead"}
    feed.append("order.confirmed", "9")
    consume()
    assert len(deliveries(api, webhook)) == 2
    enabled = api.patch(f"/api/webhooks/{webhook['id']}", {"enabled": True}).json()
    assert (enabled["enabled"], enabled["disabledReason"], enabled["failingSince"]) == (True, "", None)
    feed.append("order.confirmed", "10")
    consume()
    assert {d["subject"] for d in deliveries(api, webhook, "?status=pending")} == {"10"}


def test_one_success_starts_the_days_again(api, feed, receiver, register):
    webhook = register()
    WebhookEndpoint.objects.update(failing_since=now() - timedelta(days=100))
    feed.append("order.confirmed")
    consume()
    deliver_webhooks()
    assert api.get(f"/api/webhooks/{webhook['id']}").json()["failingSince"] is None


def test_deleting_an_endpoint_drops_what_waits(api, feed, receiver, register):
    webhook, other = register(), register()
    feed.append("order.confirmed")
    consume()
    assert api.delete(f"/api/webhooks/{webhook['id']}").status_code == 204
    assert api.get(f"/api/webhooks/{webhook['id']}").status_code == 404
    assert deliveries_of(int(webhook["id"])).count() == 0
    deliver_webhooks()
    assert len(receiver.received) == 1
    assert deliveries(api, other)[0]["status"] == "delivered"


def stored() -> str:
    """All that the database of the service holds, as text."""
    with connection.cursor() as cursor:
        texts = []
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT t::text, encode(convert_to(t::text, 'UTF8'), 'hex') FROM {table} t")
            texts += [text for row in cursor.fetchall() for text in row]
    return "\n".join(texts)


def test_the_secret_is_shown_once_and_stored_nowhere(api, feed, receiver, caplog):
    caplog.set_level("DEBUG")
    body = {"url": receiver.url, "events": ["order.confirmed"]}
    first = api.post("/api/webhooks", body, headers={"Idempotency-Key": "k"})
    again = api.post("/api/webhooks", body, headers={"Idempotency-Key": "k"})
    secret = first.json()["secret"]
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", secret)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json() == {name: value for name, value in first.json().items() if name != "secret"}
    assert WebhookEndpoint.objects.count() == 1
    stored_before = stored()
    path = f"/api/webhooks/{first.json()['id']}"
    replaced = api.post(f"{path}/secret", headers={"Idempotency-Key": "s"})
    new = replaced.json()["secret"]
    assert replaced.status_code == 200 and new != secret
    assert "secret" not in api.post(f"{path}/secret", headers={"Idempotency-Key": "s"}).json()
    feed.append("order.confirmed")
    consume()
    deliver_webhooks()
    (got,) = receiver.received
    parts = [got.headers[f"webhook-{name}"] for name in ("id", "timestamp")]
    assert got.headers["webhook-signature"] == signature_of(new, *parts, got.body)
    patched = api.patch(path, {"enabled": True})
    pages = [patched, api.get(path), api.get("/api/webhooks"), api.get(f"{path}/deliveries")]
    texts = [
        stored_before,
        stored(),
        caplog.text,
        *(str(vars(r)) for r in caplog.records),
        *(p.content.decode() for p in pages),
    ]
    for value in (secret, new):
        hidden = value.removeprefix("whsec_")
        for form in (hidden, base64.b64decode(hidden).hex(), hidden.encode().hex()):
            assert not any(form in text for text in texts)


@pytest.mark.parametrize(
    "change, field, code",
    [
        ({"events": ["order.confirm"]}, "events[0]", "unknown_event_type"),
        ({"events": []}, "events", "min_length"),
        ({"events": "order.confirmed"}, "events", "not_a_list"),
        ({"events": [1]}, "events[0]", "unknown_event_type"),
        ({"events": ["order.confirmed"] * 51}, "events", "max_length"),
        ({"url": "ftp://example.com/"}, "url", "invalid"),
        ({"url": "https:///x"}, "url", "invalid"),
        ({"url": "https://user:pw@example.com/"}, "url", "invalid"),
        ({"url": "https://example.com/#x"}, "url", "invalid"),
        ({"url": "https://example.com:99999/"}, "url", "invalid"),
        ({"url": "https://exa mple.com/"}, "url", "invalid"),
        ({"url": "https://bücher.example/"}, "url", "invalid"),
        ({"url": "https://[::1/"}, "url", "invalid"),
        ({"url": "https://example.com/" + "x" * 2048}, "url", "max_length"),
        ({"secret": "whsec_x"}, "secret", "unknown_field"),
        ({"event": ["order.confirmed"]}, "event", "unknown_field"),
    ],
)
def test_bad_input_is_refused_with_its_field(api, change, field, code):
    body = {"url": "https://example.com/", "events": ["order.confirmed"], **change}
    answer = api.post("/api/webhooks", body)
    assert answer.status_code == 400
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [(field, code)]


def test_the_nearest_event_type_is_named(api):
    answer = api.post("/api/webhooks", {"url": "https://example.com/", "events": ["order.confirmd"]})
    assert "'order.confirmed'" in answer.json()["errors"][0]["detail"]


def test_the_number_of_endpoints_is_bounded(api, register):
    for _ in range(WebhookEndpoint.MOST):
        register()
    answer = api.post("/api/webhooks", {"url": "https://example.com/", "events": ["order.confirmed"]})
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_webhooks")


def test_patch_and_preconditions(api, register):
    webhook = register("order.confirmed", "order.confirmed")
    assert webhook["events"] == ["order.confirmed"]
    path = f"/api/webhooks/{webhook['id']}"
    tag = api.get(path).headers["ETag"]
    changed = api.patch(path, {"events": ["user.created"], "id": webhook["id"]}, headers={"If-Match": tag})
    assert (changed.status_code, changed.json()["events"]) == (200, ["user.created"])
    assert changed.json()["url"] == webhook["url"]
    assert api.patch(path, {"enabled": False}, headers={"If-Match": tag}).status_code == 412
    assert api.delete(path, headers={"If-Match": tag}).status_code == 412
    assert api.get(path, headers={"If-None-Match": changed.headers["ETag"]}).status_code == 304
    assert api.put(path, {"url": "https://example.com/", "events": ["user.created"]}).status_code == 405
    assert [each["id"] for each in api.get("/api/webhooks").json()["results"]] == [webhook["id"]]


NOT_PUBLIC = [
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
    *("224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1"),
    *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "ff0e::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "2002:7f00:1::", "2002:a00:1::1"),
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_is_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_an_address_is_public(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        *(f"https://{a}/" for a in NOT_PUBLIC if ":" not in a),
        *(f"https://[{a}]/" for a in NOT_PUBLIC if ":" in a and "%" not in a),
        *("https://2130706433/", "https://0x7f.1/", "https://0177.0.0.1/", "https://127.1/", "https://0/"),
        *("https://localhost/", "https://LOCALHOST./", "https://a.localhost/", "https://order-service/"),
        *("https://metadata.google.internal/", "https://printer.local/"),
        "http://example.com/",
    ],
)
def test_production_refuses_a_url_that_is_not_public_or_not_https(production, api, url):
    body = {"url": url, "events": ["order.confirmed"]}
    answer = api.post("/api/webhooks", body, headers=people.as_user(9, "admin"))
    assert answer.status_code == 400, url
    assert answer.json()["errors"][0]["field"] == "url"


@pytest.mark.parametrize(
    "url, lookup",
    [
        ("https://shop.example.com/", ["127.0.0.1"]),
        ("https://shop.example.com/", ["10.0.0.1", "::1", "::ffff:127.0.0.1"]),
        ("https://127.0.0.1/", []),
        ("https://[::ffff:127.0.0.1]/", []),
        ("https://0x7f.1/", []),
        ("https://localhost/", []),
    ],
)
def test_production_checks_the_address_that_is_connected_to(production, receiver, monkeypatch, url, lookup):
    """The check holds for what the name leads to at the moment of the connection, whatever was registered."""
    checked = []
    monkeypatch.setattr(posting, "is_public", lambda address: checked.append(address) or is_public(address))
    host = url.split("/")[2].strip("[]")
    url = url.replace("/", f":{receiver.port}/", 3).replace(f":{receiver.port}/", "/", 2)
    if lookup:
        entry = f"{host}:{receiver.port}:{','.join(f'[{a}]' if ':' in a else a for a in lookup)}"
        options = posting._options
        resolve = {posting.pycurl.RESOLVE: [entry]}
        monkeypatch.setattr(posting, "_options", lambda *args: {**options(*args), **resolve})
    with pytest.raises(posting.DestinationUnreachable, match="not public"):
        posting.post(url, b"{}", {})
    assert checked and receiver.received == []


def test_production_connects_by_https_only(production, receiver, monkeypatch):
    monkeypatch.setattr(posting, "is_public", lambda address: True)
    with pytest.raises(posting.DestinationUnreachable):
        posting.post(receiver.url, b"{}", {})
    assert receiver.received == []


def test_a_host_that_takes_no_connections(receiver):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(posting.DestinationUnreachable, match="takes no connections"):
        posting.post(f"http://127.0.0.1:{port}/", b"{}", {})


def test_a_secret_that_cannot_be_decrypted_is_an_error_of_the_delivery(api, feed, receiver, register, settings):
    webhook = register()
    feed.append("order.confirmed")
    consume()
    settings.SECRET_KEY = "another" * 10
    deliver_webhooks()
    (waiting,) = deliveries(api, webhook)
    assert waiting["status"] == "pending" and "SECRET_KEY" in waiting["lastError"]
    api.post(f"/api/webhooks/{webhook['id']}/secret")
    due_now()
    deliver_webhooks()
    assert len(receiver.received) == 1


def test_staff_alone_may_use_webhooks_in_production(production, api):
    for headers, status in [({}, 401), (people.as_user(7), 403), (people.as_user(9, "support"), 200)]:
        assert api.get("/api/webhooks", headers=headers).status_code == status
