"""Retention of events, known consumers, and the error for positions that have been deleted."""

import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from order_svc.tasks import DUTIES
from platform_core.events import consumers, retention
from platform_core.events.log import NewEvent, append
from platform_core.events.models import Event, FeedConsumer, FeedStart
from platform_core.models import FailedItem, IdempotencyKey
from platform_core.worker import housekeeping
from tests.admin_pages import act, said
from tests.platform_core.test_read_events import PENDING, another_session, batch, hidden_seconds  # noqa: F401  # a fixture
from tests.wire import Caller, assert_problem, at_once, rows_read

pytestmark = pytest.mark.django_db(transaction=True)
READER = {"Feed-Consumer": "analytics-service"}


def happened(*days_ago: float) -> list[str]:
    """Creates events of the given ages in days and returns their ids."""
    for number, _ in enumerate(days_ago):
        with transaction.atomic():
            append(NewEvent("note.created", number + 1, {"version": 1}))
    for event, days in zip(Event.objects.order_by("id"), days_ago, strict=True):
        Event.objects.filter(pk=event.pk).update(time=now() - timedelta(days=days))
    return [f"{e.epoch}-{e.txid}-{e.pk}" for e in Event.objects.order_by("id")]


@pytest.fixture
def read(api):
    """Requests the events after a position as a named consumer."""

    def read(after: str, name: str = "analytics-service"):
        return api.get(f"/api/events?lastEventId={after}", headers={"Feed-Consumer": name})

    return read


def kept() -> list[str]:
    return list(Event.objects.order_by("id").values_list("subject", flat=True))


def keep_house() -> None:
    """As the worker does."""
    assert housekeeping.HOUSEKEEPING in DUTIES
    while housekeeping.HOUSEKEEPING.run(threading.Event()):
        pass


def test_the_worker_deletes_what_is_older_than_the_retention(api, settings):
    assert settings.EVENT_RETENTION_DAYS == 30
    happened(40, 31, 29, 0)
    batch(api)
    keep_house()
    assert kept() == ["3", "4"]


def test_only_the_beginning_of_the_feed_is_deleted(api):
    """After a jump of the clock, an old event behind a newer one is kept."""
    happened(40, 1, 40)
    batch(api)
    keep_house()
    assert kept() == ["2", "3"]


def test_any_number_is_deleted_in_bounded_batches(api, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 2)
    happened(*[40] * 5, 0)
    batch(api)
    assert retention.trim_feed() and len(kept()) == 4
    keep_house()
    assert kept() == ["6"]


def test_events_that_a_known_consumer_has_not_read_are_not_deleted(api, read):
    ids = happened(40, 40, 40, 40)
    batch(api)
    read(ids[2], "fast")
    read(ids[0], "slow")
    keep_house()
    assert kept() == ["2", "3", "4"]
    FeedConsumer.objects.filter(name="slow").update(seen_at=now() - timedelta(minutes=1))
    read(ids[1], "slow")
    keep_house()
    assert kept() == ["3", "4"]


def test_a_consumer_that_goes_back_is_stored_at_once(api, read):
    ids = happened(40, 40)
    batch(api)
    read(ids[1])
    read("0-0-0")
    keep_house()
    assert kept() == ["1", "2"]


def test_a_consumer_not_seen_for_long_does_not_block_deletion(api, read):
    happened(40)
    batch(api)
    read("0-0-0")
    FeedConsumer.objects.update(seen_at=now() - timedelta(days=89))
    keep_house()
    assert kept() == ["1"]
    FeedConsumer.objects.update(seen_at=now() - timedelta(days=91))
    keep_house()
    assert kept() == []
    assert not FeedConsumer.objects.exists()


def test_events_that_are_not_visible_yet_are_not_deleted(api, another_session):  # noqa: F811
    happened(40)
    assert api.get("/api/events")[PENDING] == "true"
    keep_house()
    assert kept() == ["1"]
    another_session.rollback()
    batch(api)
    keep_house()
    assert kept() == []


def test_workers_side_by_side_delete_the_same(api, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 3)
    happened(*[40] * 20, 0, 0)
    batch(api)
    at_once([keep_house] * 4)
    keep_house()
    assert kept() == ["21", "22"]


def test_only_one_worker_deletes_at_a_time(api):
    """Two workers could set the start of the feed concurrently, the later position first."""
    happened(40, 40)
    batch(api)
    keep_house()
    happened_before = FeedStart.objects.get().sequence
    Event.objects.all().delete()
    happened(40)
    batch(api)
    with transaction.atomic():
        FeedStart.objects.select_for_update().get()
        assert Caller(retention.trim_feed).answer() is False
    assert (kept(), FeedStart.objects.get().sequence) == (["1"], happened_before)


def test_a_consumer_whose_events_are_deleted_gets_instructions(api, read):
    ids = happened(40, 40, 40, 0)
    batch(api)
    keep_house()
    for late in ("0-0-0", ids[0], ids[1]):
        answer = read(late)
        assert_problem(answer, 410, "events_expired")
        detail = answer.json()["detail"]
        assert "rebuild" in detail and answer["Feed-Position"] in detail
    assert [event["subject"] for event in batch(api, ids[2])] == ["4"]
    assert batch(api, read("0-0-0")["Feed-Position"]) == []
    assert not FeedConsumer.objects.exists()


def test_a_late_consumer_can_continue_from_the_position_in_the_error(api, read):
    happened(40)
    batch(api)
    keep_house()
    position = read("0-0-0")["Feed-Position"]
    api.post("/api/notes", {"name": "Bob", "label": "bob@example.com"})
    assert [event["type"] for event in batch(api, position)] == ["note.created"]


def test_a_request_without_a_position_starts_at_the_first_kept_event(api):
    happened(40, 0)
    batch(api)
    keep_house()
    answer = api.get("/api/events")
    assert answer.status_code == 200
    assert [event["subject"] for event in answer.json()] == ["2"]


def test_a_complete_feed_accepts_any_position(api, read):
    happened(0)
    keep_house()
    assert read("0-0-0").status_code == 200
    assert FeedStart.objects.count() == 1


@pytest.mark.parametrize("name", ["", "a" * 65, "A", "a b", "a_b", "\u0661", "a\u00e4"])
def test_a_malformed_name_is_refused(api, name):
    assert_problem(api.get("/api/events", headers={"Feed-Consumer": name}), 400, "invalid", ["Feed-Consumer"])


def test_a_poll_is_one_query_and_rarely_a_write(api, read):
    ids = happened(0, 0, 0)
    batch(api)
    read(ids[0])
    for after in (ids[0], ids[1], ids[2]):
        with CaptureQueriesContext(connection) as captured:
            assert read(after).status_code == 200
        assert len(captured) == 1
    FeedConsumer.objects.update(seen_at=now() - timedelta(seconds=consumers.NOTED_EVERY + 1))
    with CaptureQueriesContext(connection) as captured:
        read(ids[2])
    assert len(captured) == 2
    assert FeedConsumer.objects.get().sequence == Event.objects.order_by("id").last().pk


def test_a_consumer_without_a_name_or_position_is_not_stored(api):
    happened(0)
    api.get("/api/events?lastEventId=0-0-0")
    api.get("/api/events", headers=READER)
    assert not FeedConsumer.objects.exists()


def test_names_are_bounded(api, read, monkeypatch):
    monkeypatch.setattr(consumers, "AT_MOST", 2)
    for name in ("a", "b"):
        assert read("0-0-0", name).status_code == 200
    assert_problem(read("0-0-0", "c"), 409, "too_many_consumers")
    assert read("0-0-0", "a").status_code == 200


def test_consumers_are_shown_with_their_lag_and_can_be_forgotten(admin_client, api, read):
    ids = happened(40, 40)
    batch(api)
    read(ids[0])
    page = admin_client.get("/admin/events/feedconsumer/").content.decode()
    assert "analytics-service" in page and ids[0] in page
    assert str(Event.objects.last().time.year) in page
    assert said(act(admin_client, FeedConsumer, "forget", FeedConsumer.objects.get())) == ["1 consumers were removed."]
    keep_house()
    assert kept() == []


def test_the_age_of_hidden_events_is_measured(api, another_session):  # noqa: F811
    happened(1)
    api.get("/api/events")
    assert hidden_seconds(api) > 80_000
    another_session.rollback()
    batch(api)
    assert hidden_seconds(api) == 0


def test_neither_the_feed_nor_its_trimming_reads_all_events(api, read):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO events_event (epoch, txid, type, subject, data, time, request_id, traceparent) "
            "SELECT 0, n, 'note.created', n, '{}', now(), '', '' FROM generate_series(1, 20000) n"
        )
        cursor.execute("ANALYZE")
    read("0-10000-0")
    with CaptureQueriesContext(connection) as captured:
        read("0-10000-0")
        retention.trim_feed()
        retention.waiting_since(FeedConsumer.objects.get())
    statements = [q["sql"] for q in captured if q["sql"].lstrip().startswith(("SELECT", "WITH", "UPDATE"))]
    assert len(statements) >= 5
    assert max(rows_read(statement) for statement in statements) <= 1100


def test_an_event_that_cannot_be_deleted_is_named_and_holds_back_no_other(api, stubborn, caplog):
    ids = happened(40, 39, 38, 0)
    stubborn("2")
    batch(api)
    keep_house()
    assert kept() == ["2", "4"]
    failed = FailedItem.objects.get()
    assert (failed.duty, failed.item, failed.attempts) == ("events", ids[1], 1)
    assert str(FeedStart.objects.get()) == ids[2]
    assert "worker.item_failed" in [record.message for record in caplog.records]
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER refuse ON events_event")
    FailedItem.objects.update(retry_at=now() - timedelta(seconds=1))
    keep_house()
    assert kept() == ["4"]
    assert not FailedItem.objects.exists()


def test_a_cleaner_that_fails_does_not_stop_the_others(api, monkeypatch, caplog):
    happened(40, 0)
    batch(api)
    monkeypatch.setattr(housekeeping, "expire_keys", lambda stopping: 1 / 0)
    keep_house()
    assert kept() == ["2"]
    assert [record.data for record in caplog.records if record.message == "worker.failed"] == [
        {"duty": "housekeeping:keys"}
    ]


def test_a_key_that_cannot_be_deleted_holds_back_no_other(api, stubborn):
    old = now() - timedelta(days=3)
    for key in ("1", "2", "3"):
        IdempotencyKey.objects.create(caller="c", key=key, fingerprint=b"", status=201, body=b"", created_at=old)
    stubborn("2", table="platform_core_idempotencykey", column="key")
    keep_house()
    assert [row.key for row in IdempotencyKey.objects.all()] == ["2"]
    assert FailedItem.objects.get().item == str(IdempotencyKey.objects.get().pk)


@pytest.fixture
def stubborn():
    """Makes one row of a table undeletable."""
    tables = []

    def make(value: str, table: str = "events_event", column: str = "subject") -> None:
        tables.append(table)
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    IF OLD.{column} = '{value}' THEN RAISE foreign_key_violation; END IF;
                    RETURN OLD;
                END $$;
                CREATE TRIGGER refuse BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()
                """
            )

    yield make
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION IF EXISTS refuse CASCADE")
