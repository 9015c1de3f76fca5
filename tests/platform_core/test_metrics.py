"""Each metric changes with its event. Tested with order-service, which has all metrics."""

import socket
import threading
import time
from datetime import timedelta

import pytest
import requests
from django.db import OperationalError, connection
from django.utils.timezone import now

from platform_core.clients.engine import call
from platform_core.clients.errors import PeerBusy, PeerError
from platform_core.clients.peers import peer_bulkhead
from platform_core.observability import metrics_endpoint as scraping
from platform_core.outbox.lanes import deliver_due
from platform_core.outbox.models import OutboxMessage
from platform_core.outbox.queue import Handler, Message, PermanentFailure, enqueue
from tests import servers
from tests.scrapes import Scrape
from tests.servers import answers

pytestmark = pytest.mark.django_db
PEER = "user-service"


@pytest.fixture
def peer(settings):
    with servers.serving() as server:
        settings.PEER_URLS = dict.fromkeys(settings.PEER_URLS, server.url)
        yield server


@pytest.fixture
def scrape(client):
    def scrape():
        answer = client.get("/metrics")
        assert answer.status_code == 200
        return Scrape(answer.content.decode())

    return scrape


@pytest.fixture
def rise(scrape):
    """The increase of a metric since the start of the test."""
    before = scrape()
    return lambda name, **labels: scrape().sum(name, **labels) - before.sum(name, **labels)


def test_a_request_is_counted_by_the_template_of_its_route(client, rise):
    client.get("/api/orders/404")
    client.get("/api/orders/405")
    route = {"method": "GET", "route": "/api/orders/{pk}"}
    assert rise("http_requests_total", **route, status="404") == 2
    assert rise("http_request_duration_seconds_count", **route) == 2


def test_unknown_paths_and_methods_make_no_series(client, scrape):
    client.get("/no/such/path")
    client.generic("BREW", "/no/such/path")
    requests_ = [each.labels for each in scrape().samples if each.name == "http_requests_total"]
    assert {"method": "OTHER", "route": "unknown", "status": "404"} in requests_
    assert not [labels for labels in requests_ if "such" in labels["route"] or labels["method"] == "BREW"]


def test_a_call_is_counted_by_peer_and_outcome_and_timed(peer, rise):
    call(PEER, "GET", "/")
    peer.will(answers(status=409), answers(status=401))
    for _ in range(2):
        with pytest.raises(PeerError):
            call(PEER, "GET", "/")
    assert rise("peer_calls_total", peer=PEER, outcome="ok") == 1
    assert rise("peer_calls_total", peer=PEER, outcome="PeerRefused") == 1
    assert rise("peer_calls_total", peer=PEER, outcome="CallerRefused") == 1
    assert rise("peer_call_duration_seconds_count", peer=PEER) == 3


def test_retries_are_counted_separately_from_calls(peer, rise):
    peer.will(answers(status=503), answers({}))
    call(PEER, "GET", "/")
    assert rise("peer_retries_total", peer=PEER) == 1
    assert rise("peer_calls_total", peer=PEER) == 1


def test_the_state_of_a_breaker_is_exported(peer, scrape):
    peer.will(answers(status=500))
    for _ in range(5):
        with pytest.raises(PeerError):
            call(PEER, "GET", "/")
    assert scrape().one("peer_breakers_open", peer=PEER) == 1
    peer.will(answers({}))
    until = time.monotonic() + 10
    while scrape().one("peer_breakers_open", peer=PEER):
        assert time.monotonic() < until
        try:
            call(PEER, "GET", "/")
        except PeerError:
            time.sleep(0.05)


def test_used_bulkhead_places_are_exported(scrape, settings):
    settings.PEER_PLACES = 2
    with peer_bulkhead().place():
        assert (scrape().one("peer_places_used"), scrape().one("peer_places")) == (1, 2)
    assert scrape().one("peer_places_used") == 0


def test_a_call_refused_by_the_bulkhead_is_counted(settings, peer, rise):
    settings.PEER_PLACES = 1
    taken, done = threading.Event(), threading.Event()

    def hold():
        with peer_bulkhead().place():
            taken.set()
            done.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait(10)
    try:
        with pytest.raises(PeerBusy):
            call(PEER, "GET", "/")
    finally:
        done.set()
        holder.join()
    assert rise("peer_calls_total", peer=PEER, outcome="PeerBusy") == 1


def put(key, state="pending", seconds=0):
    at = now() - timedelta(seconds=seconds)
    OutboxMessage.objects.create(
        key=key, kind="note", destination="there", aggregate=key, payload={}, state=state, created_at=at
    )


def test_outbox_metrics_show_pending_age_and_dead_messages(scrape):
    assert scrape().one("outbox_oldest_message_age_seconds") == 0
    put("a", seconds=90)
    put("b")
    put("c", "dead", 500)
    put("d", "delivered", 900)
    found = scrape()
    assert (found.one("outbox_pending_messages"), found.one("outbox_dead_messages")) == (2, 1)
    assert 90 <= found.one("outbox_oldest_message_age_seconds") < 150


def deliver(failure):
    def handler(message):
        if failure:
            raise failure

    enqueue(Message("note", "there", "thing:1", f"note-{failure}", {}))
    deliver_due("there", {"note": Handler(handler)}, threading.Event())


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "failure, outcome", [(None, "delivered"), (OSError("no"), "failed"), (PermanentFailure("no"), "dead")]
)
def test_deliveries_are_counted_by_kind_and_outcome(rise, failure, outcome):
    deliver(failure)
    assert rise("outbox_deliveries_total", kind="note", outcome=outcome) == 1


def test_database_connections_are_exported_by_state_with_the_limit(scrape):
    found = scrape()
    assert found.one("database_up") == 1
    assert found.one("database_connections", state="active") >= 1, "the one that asks"
    assert len(found.all("database_connections", state="idle")) == 1
    assert found.sum("database_connections") <= found.one("database_connections_limit")


def test_other_metrics_are_exported_without_a_database(scrape, monkeypatch):
    def gone():
        raise OperationalError("the server is gone")

    monkeypatch.setattr(connection, "cursor", gone)
    found = scrape()
    assert found.one("database_up") == 0
    assert found.all("outbox_pending_messages") == []
    assert found.sum("http_requests_total") > 0


def test_a_scrape_asks_the_database_five_short_questions(client, django_assert_num_queries):
    with django_assert_num_queries(5):
        client.get("/metrics")


@pytest.fixture
def worker_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    scraping.serve("127.0.0.1", port)
    return port


def test_a_worker_has_metrics_of_its_own_on_the_port_that_it_is_given(worker_port):
    answer = requests.get(f"http://127.0.0.1:{worker_port}/metrics", timeout=5)
    assert answer.status_code == 200
    assert Scrape(answer.text).sum("outbox_deliveries_total") >= 0
    assert requests.get(f"http://127.0.0.1:{worker_port}/", timeout=5).status_code == 404


@pytest.mark.parametrize("given, status", [("", 401), ("Bearer wrong", 401), ("Bearer scrape-me", 200)])
def test_a_workers_metrics_need_the_token_in_production(worker_port, settings, given, status):
    settings.PLATFORM_ENV, settings.METRICS_TOKEN = "production", "scrape-me"
    answer = requests.get(f"http://127.0.0.1:{worker_port}/metrics", headers={"Authorization": given}, timeout=5)
    assert answer.status_code == status
    assert (b"peer_calls_total" in answer.content) is (status == 200)


def test_a_worker_says_that_it_lives_and_needs_no_token_for_it(worker_port, settings):
    """Kubernetes asks, whose probes have no secret."""
    settings.PLATFORM_ENV, settings.METRICS_TOKEN = "production", "scrape-me"
    answer = requests.get(f"http://127.0.0.1:{worker_port}/health/live", timeout=5)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert answer.headers["Content-Type"] == "application/json"
    assert requests.post(f"http://127.0.0.1:{worker_port}/health/live", timeout=5).status_code == 404


def test_unfinished_jobs_and_their_age_are_shown(scrape):
    from platform_core.jobs.models import Job

    assert (scrape().one("jobs_unfinished"), scrape().one("job_oldest_age_seconds")) == (0, 0)
    for state in ("waiting", "running", "stopping", "draft"):
        made = Job.objects.create(kind="x", by="user:1", state=state, request_id="r", traceparent="")
        Job.objects.filter(pk=made.pk).update(created_at=now() - timedelta(minutes=5))
    assert scrape().one("jobs_unfinished") == 3
    assert 290 < scrape().one("job_oldest_age_seconds") < 600
