"""Promise 6: a consumer that is killed again and again misses no event and counts none twice.

The writers commit out of order.
"""

import itertools
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from urllib.parse import urlencode

import pytest
from django.db import connection, transaction

from platform_core.conf.environment import ROOT
from platform_core.events.log import NewEvent, append
from platform_core.events.models import Event
from platform_core.stack.processes import die_with_parent
from tests.platform_core.test_read_events import hidden_seconds
from tests.suites import plain_environment
from tests.wire import Caller, until

pytestmark = pytest.mark.django_db(transaction=True)
WRITERS, KILLS = 6, 5

CONSUMER = """
import django, time
django.setup()
from django.db import connection, transaction
from platform_core.events.log import Position, read

while True:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT position FROM consumed_position FOR UPDATE")
        (position,) = cursor.fetchone()
        batch = read(Position.parse(position), 7)
        for event in batch.events:
            cursor.execute("INSERT INTO consumed (id, subject) VALUES (%s, %s)", [event["id"], event["subject"]])
        if batch.events:
            cursor.execute("UPDATE consumed_position SET position = %s", [batch.events[-1]["id"]])
    time.sleep(0.001)
"""


@pytest.fixture
def consumer():
    """Starts a process that reads the feed into a table, its position in the same transaction."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE consumed (n bigserial, id text, subject text)")
        cursor.execute("CREATE TABLE consumed_position (position text)")
        cursor.execute("INSERT INTO consumed_position VALUES ('0-0-0')")
    processes: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        environment = {
            **plain_environment(),
            "DJANGO_SETTINGS_MODULE": "tests.platform_core.settings",
            "ORDER_DATABASE_URL": url(),
        }
        command = [sys.executable, "-c", CONSUMER]
        processes.append(subprocess.Popen(command, cwd=ROOT, env=environment, preexec_fn=die_with_parent))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation "
            "WHERE c.relname LIKE 'consumed%' AND pid <> pg_backend_pid()"
        )
        cursor.execute("DROP TABLE consumed, consumed_position")


def url() -> str:
    place = connection.get_connection_params()
    names = ("user", "password", "host", "port")
    return f"postgresql:///{place['dbname']}?" + urlencode({name: place[name] for name in names if place.get(name)})


def consumed() -> list[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, subject FROM consumed ORDER BY n")
        return cursor.fetchall()


def write(number: int, over: Callable[[int], bool]) -> None:
    """Ids are taken at once and committed later, so later ids overtake earlier ones. Some are rolled back."""
    dice = random.Random(number)
    for turn in itertools.count():
        if over(turn):
            return
        with transaction.atomic():
            append(NewEvent("note.created", number * 10_000 + turn, {}))
            time.sleep(dice.random() * 0.05)
            append(NewEvent("note.updated", number * 10_000 + turn, {}))
            if dice.random() < 0.1:
                transaction.set_rollback(True)


def test_a_consumer_that_is_killed_at_random_misses_nothing_and_counts_nothing_twice(consumer):
    dice, over = random.Random(6), threading.Event()
    writers = [Caller(lambda n=n: write(n, lambda _: over.is_set())) for n in range(1, WRITERS + 1)]
    for _ in range(KILLS):
        process, seen = consumer(), len(consumed())
        until(lambda seen=seen: len(consumed()) > seen, 60)  # while they write
        time.sleep(dice.random() * 0.3)
        process.send_signal(signal.SIGKILL)
        process.wait()
    over.set()
    for writer in writers:
        writer.answer()
    consumer()
    total = Event.objects.count()
    until(lambda: len(consumed()) >= total, 60)
    found = consumed()
    places = [tuple(int(part) for part in event_id.split("-")) for event_id, _ in found]
    assert places == sorted(set(places))
    assert [sequence for *_, sequence in places] != sorted(sequence for *_, sequence in places), "nothing was overtaken"
    assert {sequence for *_, sequence in places} == set(Event.objects.values_list("pk", flat=True))


def test_a_transaction_that_stays_open_delays_the_feed_and_nothing_is_lost(consumer, api):
    """In the meantime it is shown as lag."""
    consumer()
    with transaction.atomic():
        append(NewEvent("note.created", 1, {}))
        writers = [Caller(lambda n=n: write(n, lambda turn: turn == 10)) for n in (1, 2)]
        for writer in writers:
            writer.answer()
        assert Caller(consumed).answer() == []
        answer = Caller(lambda: api.get("/api/events")).answer()
        assert answer["Feed-Pending"] == "true" and answer.json() == []
        assert hidden_seconds(api) > 0
    total = Event.objects.count()
    until(lambda: len(consumed()) >= total, 60)
    assert len({event_id for event_id, _ in consumed()}) == len(consumed()) == total
