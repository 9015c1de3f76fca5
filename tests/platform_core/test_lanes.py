"""A lane delivers several messages at once, and none outlives its lease or waits for another's trouble."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.utils.timezone import now

from platform_core.clients.errors import PeerRefused
from platform_core.outbox import delivery, depth, queue
from platform_core.outbox.lanes import Lane
from platform_core.outbox.leases import LeaseLost, check_lease
from platform_core.outbox.models import OutboxMessage
from platform_core.outbox.queue import DestinationUnreachable, Handler, Message, claim, enqueue, hasten, redrive
from platform_core.worker.duties import Duty, work
from tests.wire import until

pytestmark = pytest.mark.django_db(transaction=True)


def put(*keys, aggregate=None, destination="there"):
    enqueue(*(Message("note", destination, aggregate or f"thing:{key}", key, {}) for key in keys))


def row(key):
    return OutboxMessage.objects.get(key=key)


def states():
    return dict(OutboxMessage.objects.values_list("key", "state"))


@pytest.fixture
def short_lease(monkeypatch):
    monkeypatch.setattr(queue, "LEASE", timedelta(seconds=1.2))


@pytest.fixture
def running():
    """Starts workers of one lane each, and stops them after the test."""
    stopping, threads = threading.Event(), []

    def start(deliver, **options):
        lane = Lane("there", {"note": Handler(deliver, **options)})
        duty = Duty("deliver", lane.run, pause=0.02, finish=lane.finish)
        threads.append(threading.Thread(target=work, args=([duty], stopping)))
        threads[-1].start()
        return lane

    yield start
    stopping.set()
    for thread in threads:
        thread.join()


def test_a_slow_message_keeps_its_lease_and_is_delivered_once(running, short_lease):
    """An attempt that takes three times as long as a lease, and two workers."""
    tried = []

    def deliver(message):
        tried.append(message.key)
        time.sleep(3.6)
        check_lease()

    put("slow")
    running(deliver)
    running(deliver)
    until(lambda: row("slow").state == "delivered")
    assert (tried, row("slow").attempts) == (["slow"], 1)


def test_a_message_that_came_due_while_the_lane_looked_is_found_by_the_same_round(monkeypatch):
    """The attempt before it ends after the claim and before the lane asks whether anything runs."""
    going_on, tried = threading.Event(), []

    def deliver(message):
        tried.append(message.key)
        assert going_on.wait(20)

    def start_and_let_end(free):
        started = start(free)
        going_on.set()
        until(lambda: not lane._running)
        return started

    lane = Lane("there", {"note": Handler(deliver)})
    put("first", "second", aggregate="thing:1")
    try:
        assert lane.run(threading.Event())
        start = lane._start
        monkeypatch.setattr(lane, "_start", start_and_let_end)
        assert lane.run(threading.Event()), "there is more to do"
        monkeypatch.setattr(lane, "_start", start)
        lane.run(threading.Event())
    finally:
        lane.finish()
    assert tried == ["first", "second"]


def test_attempts_that_run_when_the_worker_is_stopped_keep_their_leases(short_lease, settings):
    settings.OUTBOX_CONCURRENCY = 1
    stopping, tried = threading.Event(), []

    def deliver(message):
        tried.append(message.key)
        stopping.set()
        time.sleep(2.4)

    put("slow", "later")
    lane = Lane("there", {"note": Handler(deliver)})
    work([Duty("deliver", lane.run, pause=0.02, finish=lane.finish)], stopping)
    assert states() == {"slow": "delivered", "later": "pending"}
    assert (tried, row("later").attempts) == (["slow"], 0)


def test_a_slow_message_delays_no_other(running):
    go_on = threading.Event()
    put("first")
    running(lambda message: None if message.key != "slow" else go_on.wait(20))
    until(lambda: row("first").state == "delivered")
    put("slow", *(f"m{n}" for n in range(30)))
    until(lambda: OutboxMessage.objects.filter(state="delivered").count() == 31)
    assert row("slow").state == "pending"
    go_on.set()
    until(lambda: row("slow").state == "delivered")


def test_as_many_messages_as_the_setting_says_are_delivered_at_once(running, settings):
    settings.OUTBOX_CONCURRENCY = 3
    together = threading.Barrier(3)
    put("first")
    running(lambda message: None if message.key == "first" else together.wait(20) and None)
    until(lambda: row("first").state == "delivered")
    put(*(f"m{n}" for n in range(6)))
    until(lambda: set(states().values()) == {"delivered"})


def test_messages_of_one_aggregate_are_never_in_two_threads(running):
    present, most, order, lock = 0, 0, [], threading.Lock()

    def deliver(message):
        nonlocal present, most
        with lock:
            present += 1
            most = max(most, present)
        time.sleep(0.01)
        with lock:
            present -= 1
            order.append(message.key)

    put(*(f"m{n:02}" for n in range(20)), aggregate="order:1")
    running(deliver)
    running(deliver)
    until(lambda: set(states().values()) == {"delivered"})
    assert most == 1
    assert order == sorted(order)


def test_a_lost_lease_is_no_silent_success(short_lease, caplog):
    """The worker stands still for longer than its lease; another one delivers the message meanwhile."""
    put("a")
    reported = []

    def deliver(message):
        OutboxMessage.objects.update(leased_until=now() - timedelta(seconds=1))
        claim("there")

    handler = Handler(deliver, on_delivered=reported.append, on_failure=lambda *args: reported.append(args))
    lane = Lane("there", {"note": handler})
    with caplog.at_level(logging.INFO, "platform.outbox"):
        lane.run(threading.Event())
        lane.finish()
    assert [record.getMessage() for record in caplog.records] == ["outbox.lease_lost"]
    assert (row("a").state, row("a").attempts, reported) == ("pending", 2, [])
    assert row("a").last_error.startswith("LeaseLost: ")


def test_a_renewal_that_finds_the_lease_lost_stops_the_attempt_before_the_point_of_no_return(short_lease, caplog):
    put("a")
    sent = []

    def deliver(message):
        OutboxMessage.objects.update(lease=None, leased_until=None)
        time.sleep(1.0)  # a renewal comes meanwhile
        check_lease()
        sent.append(message.key)

    lane = Lane("there", {"note": Handler(deliver)})
    lane.run(threading.Event())
    lane.finish()
    assert sent == []
    assert "outbox.lease_lost" in caplog.messages


def test_every_expired_lease_counts_against_the_limit_and_is_logged(caplog):
    put("a")
    reported = []
    handler = Handler(
        lambda message: pytest.fail("tried once more"),
        max_attempts=3,
        on_failure=lambda message, error, dead: reported.append((message.attempts, error, dead)),
    )
    for _ in range(3):
        claim("there")
        OutboxMessage.objects.update(leased_until=now() - timedelta(seconds=1))
    lane = Lane("there", {"note": handler})
    lane.run(threading.Event())
    lane.finish()
    assert row("a").state == "dead"
    assert row("a").last_error.startswith("LeaseLost: ")
    assert [(attempts, dead) for attempts, _, dead in reported] == [(4, True)]
    assert "outbox.lease_expired" in caplog.messages


def test_an_attempt_without_an_outcome_is_reported_as_an_error():
    put("a")
    reported = []
    claim("there")
    OutboxMessage.objects.update(leased_until=now() - timedelta(seconds=1))
    seen = []
    handler = Handler(
        lambda message: seen.append((row("a").last_error, list(reported))),
        on_failure=lambda message, error, dead: reported.append((error, dead)),
    )
    lane = Lane("there", {"note": handler})
    lane.run(threading.Event())
    lane.finish()
    assert seen == [(queue.EXPIRED, [(queue.EXPIRED, False)])]
    assert (row("a").state, row("a").last_error) == ("delivered", "")


FROZEN = """
import django, os, signal, sys, threading, time
django.setup()
from datetime import timedelta
from platform_core.outbox import queue
from platform_core.outbox.lanes import Lane
from platform_core.outbox.leases import check_lease

queue.LEASE = timedelta(seconds=1)

def deliver(message):
    os.kill(os.getpid(), signal.SIGSTOP)  # until the test sends SIGCONT
    time.sleep(0.3)  # this thread may run on for a moment
    if sys.argv[1] == "before":
        check_lease()
    print("sent", flush=True)

lane = Lane("there", {"note": queue.Handler(deliver)})
lane.run(threading.Event())
lane.finish()
"""


@pytest.mark.parametrize("moment, prints", [("before", []), ("after", ["sent"])])
def test_a_worker_that_was_frozen_past_its_lease_settles_nothing(moment, prints):
    """It was stopped before or after the step that cannot be repeated. Only in the second case it sends."""
    put("a")
    command = [sys.executable, "-c", FROZEN, moment]
    environment = {**os.environ, "DATABASE_URL": _url_of_test_database()}
    worker = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: row("a").lease, seconds=60)
        until(lambda: _is_stopped(worker.pid))
        taken = []
        until(lambda: taken or taken.extend(claim("there")))
        queue.settle_failed(taken[0], Handler(lambda message: None), "ours", dead=True)
        worker.send_signal(signal.SIGCONT)
        out, logs = worker.communicate(timeout=60)
    finally:
        worker.kill()
    lines = out.splitlines()
    assert [line for line in lines if not line.startswith("{")] == prints, (out, logs)
    assert [json.loads(line)["event"] for line in lines if line.startswith("{")] == ["outbox.lease_lost"]
    assert (row("a").state, row("a").last_error, row("a").attempts) == ("dead", "ours", 2)


def _is_stopped(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def _url_of_test_database():
    parts = connection.get_connection_params()
    return f"postgresql://{parts['user']}@/{parts['dbname']}?host={parts['host']}"


def test_messages_that_were_never_tried_come_before_those_that_failed():
    put(*(f"old{n}" for n in range(3)))
    OutboxMessage.objects.update(attempts=1, available_at=now() - timedelta(hours=1))
    put(*(f"new{n}" for n in range(3)))
    assert [message.key for message in claim("there", 4)] == ["new0", "new1", "new2", "old0"]
    assert [message.key for message in claim("there", 4)] == ["old1", "old2"]


def test_no_good_message_waits_for_a_second_attempt_of_a_deferred_one(running, settings):
    delivered_after = {}
    attempts = []

    def deliver(message):
        attempts.append(message.key)
        if message.key.startswith("bad"):
            raise PeerRefused("there", 429, "throttled", "Later.", [])
        delivered_after[message.key] = len(attempts)

    put(*(f"bad{n}" for n in range(300)))
    put(*(f"good{n}" for n in range(20)))
    running(deliver)
    until(lambda: len(delivered_after) == 20, seconds=60)
    assert (
        max(delivered_after.values()) <= 320 + settings.OUTBOX_CONCURRENCY
    )  # as many may be under way beside the last one
    assert OutboxMessage.objects.filter(key__startswith="bad", state="pending").count() == 300


def test_an_unreachable_destination_is_probed_by_one_message_and_then_gets_all(running):
    present, most, lock = 0, 0, threading.Lock()
    down = threading.Event()
    down.set()

    def deliver(message):
        nonlocal present, most
        with lock:
            present += 1
            most = max(most, present)
        try:
            time.sleep(0.02)
            if down.is_set():
                raise DestinationUnreachable("x")
        finally:
            with lock:
                present -= 1

    put(*(f"m{n}" for n in range(12)))
    running(deliver)
    until(lambda: OutboxMessage.objects.filter(attempts__gt=0).count() >= 6)
    most = 0
    until(lambda: OutboxMessage.objects.filter(attempts__gt=0).count() >= 10)
    assert most == 1
    down.clear()
    until(lambda: set(states().values()) == {"delivered"})
    assert most > 1


@pytest.fixture
def tomorrow(monkeypatch):
    """The clock of this process is a day ahead of Postgres'."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 86_400)
    import django.utils.timezone

    later = django.utils.timezone.now() + timedelta(days=1)
    monkeypatch.setattr("django.utils.timezone.now", lambda: later)


def test_a_worker_whose_clock_is_a_day_ahead_changes_no_time_of_the_queue(tomorrow):
    limit = _database_time() + timedelta(minutes=10)
    put("failed", "delivered", "dead", "waiting")
    by_key = {message.key: message for message in claim("there")}
    handler = Handler(lambda message: None)
    queue.settle_failed(by_key["failed"], handler, "x", dead=False)
    queue.settle_failed(by_key["dead"], handler, "x", dead=True)
    queue.settle_delivered(by_key["delivered"], handler)
    queue.settle_failed(by_key["waiting"], handler, "x", dead=False)
    OutboxMessage.objects.filter(key="waiting").update(available_at=limit)
    assert redrive(OutboxMessage.objects.filter(key="dead")) == 1
    assert hasten(OutboxMessage.objects.filter(key="waiting")) == 1
    for message in OutboxMessage.objects.all():
        assert max(message.available_at, message.delivered_at or message.available_at) < limit
    due = set()
    until(lambda: due.update(message.key for message in claim("there")) or due == {"failed", "dead", "waiting"})


def _database_time():
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]


def test_a_claim_reads_few_rows_whatever_waits(django_assert_max_num_queries):
    """Ten thousand messages wait for their next attempt, and as many were delivered."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO outbox_outboxmessage
                (kind, destination, aggregate, key, payload, state, attempts, available_at, last_error, request_id,
                 traceparent, created_at)
            SELECT 'note', 'there', 'thing:' || n, 'k' || n, '{}',
                   CASE n % 2 WHEN 0 THEN 'pending' ELSE 'delivered' END, 1,
                   now() + interval '1 hour', 'x', '', '', now()
            FROM generate_series(1, 20000) n
            """
        )
        cursor.execute("ANALYZE outbox_outboxmessage")
        values = {"lease": None, "period": queue.LEASE, "destination": "there", "limit": 4, "expired": "x"}
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {queue._CLAIM}", values)
        claiming = cursor.fetchone()[0][0]["Plan"]
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {depth._REFUSAL}", {})
        looking = cursor.fetchone()[0][0]["Plan"]
    for plan in (claiming, looking):
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 40
    with django_assert_max_num_queries(1):
        assert claim("there") == []


def test_the_result_of_a_failed_settlement_is_told(short_lease):
    put("a")
    (message,) = claim("there")
    OutboxMessage.objects.update(lease=None)
    handler = Handler(lambda message: None)
    assert queue.settle_delivered(message, handler) is False
    assert queue.settle_failed(message, handler, "x", dead=True) is False
    assert row("a").state == "pending"


def test_the_outcome_of_an_attempt_is_counted(scrape_outcomes):
    put("a")
    delivery.metrics.outbox_deliveries.labels("note", "lease_lost")
    (message,) = claim("there")
    OutboxMessage.objects.update(lease=None)
    before = scrape_outcomes("lease_lost")
    delivery.fail(message, Handler(lambda message: None), LeaseLost("x"))
    assert scrape_outcomes("lease_lost") == before + 1


@pytest.fixture
def scrape_outcomes():
    from prometheus_client import REGISTRY

    def value(outcome):
        labels = {"kind": "note", "outcome": outcome}
        return REGISTRY.get_sample_value("outbox_deliveries_total", labels) or 0

    return value
