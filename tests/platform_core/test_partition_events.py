"""The event table has partitions: made ahead, dropped as a whole, and never missed by an insert or by the feed."""

import importlib
import threading
import time
from contextlib import suppress
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from platform_core.db import PastEvent, writing
from platform_core.events import partitions, retention
from platform_core.events.log import NewEvent, Position, append
from platform_core.events.models import Event, FeedConsumer, FeedStart
from platform_core.worker import housekeeping
from tests.platform_core.test_keep_events import kept, read  # noqa: F401  # a fixture
from tests.platform_core.test_read_events import another_session, batch  # noqa: F401  # a fixture
from tests.wire import Caller, assert_problem, rows_read

pytestmark = pytest.mark.django_db(transaction=True)
SIZE = 100


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The first partition has 100 ids, of which three are left; the next ones have 100."""
    monkeypatch.setattr(partitions, "SIZE", SIZE)
    monkeypatch.setattr(partitions, "ROOM", 20)
    begin_again(SIZE, SIZE - 4)
    yield
    begin_again(1_000_000, 1)


def begin_again(upper: int, last: int) -> None:
    execute("TRUNCATE events_event")
    for each in partitions.partitions():
        execute(f'DROP TABLE "{each.name}"')
    execute(f"CREATE TABLE events_event_first PARTITION OF events_event FOR VALUES FROM (MINVALUE) TO ({upper})")
    set_last(last)


def execute(statement: str, *values: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)


def set_last(last: int) -> None:
    execute("SELECT setval(pg_get_serial_sequence('events_event', 'id'), %s)", last)


def make_ahead() -> None:
    while partitions.make_ahead():
        pass


def ranges() -> list[tuple[int, int]]:
    return [(each.lower, each.upper) for each in partitions.partitions() if each.name != "events_event_first"]


def happened(*days_ago: float) -> list[Position]:
    """Creates events of the given ages in days, each in a transaction, and returns their positions."""
    ids = []
    for number, days in enumerate(days_ago, start=1):
        with transaction.atomic():
            append(NewEvent("note.created", number, {"version": 1}))
        event = Event.objects.latest("id")
        Event.objects.filter(pk=event.pk).update(time=now() - timedelta(days=days))
        ids.append(Position(event.epoch, event.txid, event.pk))
    return ids


def keep_house() -> None:
    while housekeeping.HOUSEKEEPING.run(threading.Event()):
        pass


def names() -> list[str]:
    return [each.name for each in partitions.partitions()]


def start() -> str:
    return str(FeedStart.objects.get())


def test_partitions_are_made_before_they_are_needed():
    keep_house()
    assert ranges() == [(100, 200), (200, 300)]
    set_last(150)
    keep_house()
    assert ranges() == [(100, 200), (200, 300), (300, 400)]


def test_the_more_is_kept_the_larger_they_are(monkeypatch):
    monkeypatch.setattr(partitions, "KEPT", 4)
    execute(f"CREATE TABLE large PARTITION OF events_event FOR VALUES FROM ({SIZE}) TO (2000)")
    happened(1)
    set_last(1999)
    make_ahead()
    assert ranges()[1:] == [(2000, 2500), (2500, 3000)]


def test_an_event_without_a_partition_is_written_and_read(api):
    happened(*[1] * 6)
    assert [event["subject"] for event in batch(api)] == ["1", "2", "3", "4", "5", "6"]
    assert names() == ["events_event_first"]
    keep_house()
    assert ranges() == [(200, 300), (300, 400)]
    happened(1)
    assert len(batch(api)) == 7


def test_bulk_writers_make_partitions_themselves():
    with writing() as writer:
        writer.append("r", [PastEvent(now(), "note.created", n, {}) for n in range(10)])
    assert ranges() == [(100, 200)]


def test_a_sequence_that_goes_back_fails_no_insert_and_stops_no_partitions(api):
    make_ahead()
    happened(*[40] * 6)
    batch(api)
    keep_house()
    assert names()[0] == "events_event_from_100"
    set_last(450)
    happened(0)
    set_last(50)
    happened(0)
    assert Event.objects.get(pk=51)
    make_ahead()
    assert ranges() == [(100, 200), (200, 300), (300, 400), (500, 600), (600, 700)]


def test_a_full_partition_is_dropped_as_a_whole(api):
    make_ahead()
    ids = happened(40, 40, 40, 0)
    batch(api)
    with CaptureQueriesContext(connection) as captured:
        assert retention.trim_feed()
    assert not [each for each in captured if "DELETE" in each["sql"] and "events_event" in each["sql"]]
    assert (kept(), start()) == (["4"], str(ids[2]))
    assert "events_event_first" not in names()


def test_a_partition_that_is_written_to_loses_its_old_events_one_by_one(api):
    make_ahead()
    happened(*[40] * 5, 0)
    batch(api)
    keep_house()
    assert kept() == ["6"]
    assert names()[0] == "events_event_from_100"


@pytest.mark.parametrize("days", [(1, 40, 40, 40), (40, 1, 40, 40), (40, 40, 1, 40)])
def test_an_event_that_must_stay_keeps_its_partition_and_all_that_follows(api, days):
    """Also if its time is younger than that of the last one, because a clock was wrong."""
    make_ahead()
    happened(*days)
    batch(api)
    keep_house()
    assert kept() == ["1", "2", "3", "4"]


def test_a_partition_is_kept_until_every_consumer_has_read_its_last_event(api, read):  # noqa: F811
    make_ahead()
    ids = happened(40, 40, 40, 40, 40)
    batch(api)
    read(str(ids[4]), "fast")
    read(str(ids[1]), "slow")
    keep_house()
    assert len(kept()) == 5
    FeedConsumer.objects.filter(name="slow").update(seen_at=now() - timedelta(minutes=1))
    read(str(ids[2]), "slow")
    keep_house()
    assert (kept(), start()) == (["4", "5"], str(ids[2]))
    assert_problem(read(str(ids[1]), "late"), 410, "events_expired")
    assert [event["subject"] for event in batch(api, str(ids[2]))] == ["4", "5"]


def test_a_partition_is_kept_while_its_last_event_is_hidden(api, another_session):  # noqa: F811
    make_ahead()
    happened(40, 40, 40, 0)
    keep_house()
    assert len(kept()) == 4
    another_session.rollback()
    batch(api)
    keep_house()
    assert kept() == ["4"]


def test_events_before_the_last_of_a_dropped_partition_count_as_deleted(api):
    """They have a later id, and an earlier transaction."""
    make_ahead()
    early, late = happened(40, 40)
    happened(40, 40, 0)
    Event.objects.filter(pk=early.sequence).update(txid=late.txid + 1)
    Event.objects.filter(subject="2").exclude(pk=late.sequence).update(txid=late.txid - 1, time=now())
    batch(api)
    greatest = max(Position(*each) for each in Event.objects.filter(pk__lt=SIZE).values_list("epoch", "txid", "id"))
    assert Event.objects.filter(pk__gte=SIZE, txid__lt=greatest.txid).count() == 1
    assert retention.trim_feed()
    assert start() == str(greatest)
    assert [event["subject"] for event in api.get("/api/events").json()] == ["3"]
    keep_house()
    assert kept() == ["3"]


def test_who_reads_the_table_delays_the_drop_and_nobody_else(api, another_session):  # noqa: F811
    make_ahead()
    happened(40, 40, 40, 0)
    another_session.rollback()
    batch(api)
    another_session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    another_session.execute("SELECT count(*) FROM events_event")  # as a dump does
    began = time.monotonic()
    trimming = Caller(retention.trim_feed)
    assert len(batch(api)) == 4
    assert trimming.answer() is False
    assert time.monotonic() - began < 3
    assert len(kept()) == 4 and not FeedStart.objects.filter(txid__gt=0).exists()
    another_session.rollback()
    keep_house()
    assert kept() == ["4"]


def test_partitions_are_made_while_others_read_and_write(another_session):  # noqa: F811
    another_session.rollback()
    another_session.execute("BEGIN")
    another_session.execute(
        "INSERT INTO events_event (epoch, txid, type, subject, data, time, request_id, traceparent) "
        "VALUES (1, pg_current_xact_id()::text::bigint, 'note.created', '1', '{}', now(), '', '')"
    )
    make_ahead()
    another_session.commit()
    assert ranges() == [(100, 200), (200, 300)]
    assert kept() == ["1"]


def test_workers_side_by_side_make_each_once():
    makers = [Caller(make_or_wait) for _ in range(4)]
    for each in makers:
        each.answer()
    assert ranges() == [(100, 200), (200, 300)]


def make_or_wait() -> None:
    with suppress(partitions.Busy):
        make_ahead()


def test_no_reader_reads_all_partitions(api, admin_client, subtests):
    for _ in range(6):
        partitions._make()
    execute(
        "INSERT INTO events_event (id, epoch, txid, type, subject, data, time, request_id, traceparent) "
        "SELECT n, 1, n, 'note.created', n, '{}', now(), 'r' || n, '' FROM generate_series(1, 700) AS n"
    )
    execute(
        "INSERT INTO events_event (id, epoch, txid, type, subject, data, time, request_id, traceparent) "
        "SELECT n - 1000000, 1, n % 200, 'note.created', n, '{}', now(), 'q' || n, '' "
        "FROM generate_series(1, 5000) AS n"
    )
    execute("ANALYZE")
    FeedConsumer.objects.create(name="c", epoch=1, txid=250, sequence=250, seen_at=now())
    reads = {
        "feed": lambda: api.get("/api/events?lastEventId=1-250-250"),
        "beginning": lambda: api.get("/api/events"),
        "waiting": lambda: retention.waiting_since(FeedConsumer.objects.get()),
        "trim": retention.trim_feed,
        "subject": lambda: list(Event.objects.filter(subject="77").order_by("id")[:50]),
        "request": lambda: list(Event.objects.filter(request_id="r77").order_by().values_list("pk")[:6]),
        "admin": lambda: admin_client.get("/admin/events/event/"),
        "admin, search": lambda: admin_client.get("/admin/events/event/?q=r77"),
        "one": lambda: Event.objects.get(pk=77),
    }
    for name, run in reads.items():
        with subtests.test(name):
            with CaptureQueriesContext(connection) as captured:
                run()
            statements = [q["sql"] for q in captured if "events_event" in q["sql"] and "count" not in q["sql"].lower()]
            statements = [each for each in statements if each.lstrip().startswith(("SELECT", "WITH"))]
            assert statements
            assert max(rows_read(each) for each in statements) <= 1200


def test_the_present_table_becomes_the_first_partition_without_a_copy():
    """As the migration finds it in a service that has been running."""
    migration = importlib.import_module("platform_core.events.migrations.0004_partitions")
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA IF EXISTS before CASCADE")
        cursor.execute("CREATE SCHEMA before")
        cursor.execute("SHOW search_path")
        (path,) = cursor.fetchone()
        try:
            cursor.execute("SET search_path = before")
            cursor.execute(OLD_TABLE)
            cursor.execute(
                "INSERT INTO events_event (epoch, txid, type, subject, data, time, request_id, traceparent) "
                "SELECT 1, n, 'note.created', n, '{}', now(), '', '' FROM generate_series(1, 1000) AS n"
            )
            cursor.execute("SELECT setval('events_event_id_seq', 5700000)")
            cursor.execute("SELECT pg_relation_filenode('events_event'), pg_relation_filenode('event_by_subject')")
            (files,) = cursor.fetchall()
            for statement in (*statements_of(migration), *statements_of(migration)):  # it can be run again
                cursor.execute(statement)
            cursor.execute(
                "SELECT pg_relation_filenode('events_event_first'), "
                "pg_relation_filenode('events_event_first_by_subject')"
            )
            assert cursor.fetchall() == [files]
            cursor.execute(
                "INSERT INTO events_event (epoch, txid, type, subject, data, time, request_id, traceparent) "
                "VALUES (1, 1, 'note.created', 1, '{}', now(), '', '') RETURNING id"
            )
            assert cursor.fetchone() == (5_700_001,)
            cursor.execute("SELECT count(*) FROM events_event WHERE subject = '1'")
            assert cursor.fetchone() == (2,)
            assert [each[1:] for each in partitions.partitions()] == [(-(2**63), 7_000_000)]
            cursor.execute("SELECT table_oid = 'events_event'::regclass::oid FROM events_serverhistory")
            assert cursor.fetchone() == (True,)
            cursor.execute("SELECT count(*) FROM pg_indexes WHERE schemaname = 'before' AND tablename = 'events_event'")
            assert cursor.fetchone() == (4,)
        finally:
            cursor.execute(f"SET search_path = {path}")
            cursor.execute("DROP SCHEMA before CASCADE")


def statements_of(migration) -> list[str]:
    return [operation.sql for operation in migration.Migration.operations]


OLD_TABLE = """
    CREATE TABLE events_event (
        id bigint NOT NULL PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY, epoch integer NOT NULL CHECK (epoch >= 0),
        txid bigint NOT NULL, type varchar(64) NOT NULL, subject varchar(64) NOT NULL, data jsonb NOT NULL,
        time timestamptz NOT NULL, request_id varchar(128) NOT NULL, traceparent varchar(64) NOT NULL
    );
    CREATE INDEX event_feed_order ON events_event (epoch, txid, id);
    CREATE INDEX event_by_subject ON events_event (subject, id);
    CREATE INDEX event_by_request ON events_event (request_id);
    CREATE TABLE events_serverhistory (id bigint PRIMARY KEY, table_oid bigint);
    INSERT INTO events_serverhistory VALUES (1, 'events_event'::regclass::oid::bigint);
"""
