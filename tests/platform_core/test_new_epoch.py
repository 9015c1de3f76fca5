"""A new epoch begins while events are written: the feed shows each event once, and the old epoch before the new one."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction

from platform_core.db.bulk_copy import PastEvent, writing
from platform_core.events.log import NewEvent, append
from platform_core.events.models import Event, FeedEpoch, ServerHistory
from platform_core.stack import epochs
from tests.wire import Caller, until

pytestmark = pytest.mark.django_db(transaction=True)
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


def appends(subject: int) -> None:
    append(NewEvent("note.created", subject, {}))


def copies(subject: int) -> None:
    with writing() as writer:
        writer.append("", [PastEvent(datetime.now(UTC), "note.created", subject, {})])


@pytest.fixture
def owner() -> Iterator[Callable[[], psycopg.Connection[Any]]]:
    """Makes connections of the schema's owner, in autocommit, as commands have them."""
    place = {
        name: connection.get_connection_params().get(name) for name in ("dbname", "user", "password", "host", "port")
    }
    opened = []

    def connect() -> psycopg.Connection[Any]:
        opened.append(psycopg.connect(**place, autocommit=True))
        return opened[-1]

    yield connect
    for each in opened:
        each.close()


@pytest.fixture
def raised(owner) -> Callable[[], int]:
    """Raises the epoch, and returns the new one."""

    def run() -> int:
        session = owner()
        (schema,) = session.execute("SELECT current_schema()").fetchone()
        return epochs.raise_epoch_online(session, schema)

    return run


class Open:
    """A transaction that has written an event, and stays open until it may commit."""

    def __init__(self, subject: int) -> None:
        self.has_written, self.may_commit = threading.Event(), threading.Event()
        self.subject = subject
        self.caller = Caller(self.run)
        assert self.has_written.wait(20)

    def run(self) -> None:
        with transaction.atomic():
            appends(self.subject)
            self.has_written.set()
            assert self.may_commit.wait(60)
            appends(self.subject)  # in the same epoch, since its transaction holds the lock

    def commit(self) -> None:
        self.may_commit.set()
        self.caller.answer()


def waiting(number: int) -> Callable[[], bool]:
    def look() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(WAITING)
            return bool(cursor.fetchone()[0] == number)

    return look


def epochs_of(subject: int) -> list[int]:
    return list(Event.objects.filter(subject=str(subject)).order_by("id").values_list("epoch", flat=True))


@pytest.mark.parametrize("write", [appends, copies])
def test_who_waits_for_the_new_epoch_writes_into_it_and_not_into_the_old_one(write, raised, monkeypatch):
    """A statement that takes the lock and reads the epoch would have read it before it waited."""
    monkeypatch.setattr(epochs, "LOCK_MS", 30_000)
    first = Open(1)
    raising = Caller(raised)
    until(waiting(1))
    second = Caller(lambda: write(2))
    until(waiting(2))
    first.commit()
    assert raising.answer() == 2
    second.answer()
    assert (epochs_of(1), epochs_of(2)) == ([1, 1], [2])


def test_no_epoch_begins_while_a_transaction_may_still_write_into_the_old_one(raised, monkeypatch):
    first = Open(1)
    raising = Caller(raised)
    until(waiting(1))
    assert not FeedEpoch.objects.exists()
    appends(2)  # others wait no longer than for one attempt
    assert epochs_of(2) == [1]
    assert raising.is_alive()
    first.commit()
    assert raising.answer() == 2
    appends(3)
    assert epochs_of(3) == [2]


def test_a_transaction_that_does_not_end_is_named_and_nothing_has_changed(owner, monkeypatch):
    monkeypatch.setattr(epochs, "PATIENCE", 0.5)
    for opened in ("open_connection", "open_session"):
        monkeypatch.setattr(epochs, opened, lambda **_: owner())
    monkeypatch.setattr(epochs, "direct_parts", lambda *_: {})
    ServerHistory.objects.create(
        system_identifier="x", timeline=1, table_oid=1, noted_at=datetime.now(UTC), lost="orders"
    )
    first = Open(1)
    try:
        with pytest.raises(epochs.StackError, match=r"order-service: transactions .* pg_terminate_backend\([0-9]+\)"):
            epochs.raise_epochs({}, [epochs.ORDER])
        assert not FeedEpoch.objects.exists()
        assert ServerHistory.objects.get().lost
    finally:
        first.commit()


def test_a_reader_sees_each_event_once_and_the_old_epoch_first_while_epochs_begin(api, raised):
    writers, each, new = 5, 12, 6

    def write(number: int) -> None:
        for turn in range(each):
            with transaction.atomic():
                appends(number * 1000 + turn)
                if turn % 3 == 0:
                    copies(number * 1000 + turn)

    callers = [Caller(lambda n=n: write(n)) for n in range(1, writers + 1)]
    raising = Caller(lambda: [raised() for _ in range(new)])
    seen: list[str] = []

    def everything_seen() -> bool:
        over = not any(caller.is_alive() for caller in (*callers, raising))
        answer = api.get(f"/api/events?limit=7&lastEventId={seen[-1] if seen else '0-0-0'}")
        seen.extend(event["id"] for event in answer.json())
        return over and not answer.json() and not answer.has_header("Feed-Pending")

    until(everything_seen, 60)
    for caller in (*callers, raising):
        caller.answer()
    assert len(seen) == len(set(seen)) == Event.objects.count() == writers * each * 4 // 3
    assert {int(position.split("-")[0]) for position in seen} > {1}, "events were written in more than one epoch"


def test_an_event_is_written_in_read_committed_only():
    """Any other isolation would read the epoch of the transaction's beginning."""

    def write() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            appends(1)

    with pytest.raises(DatabaseError, match="READ COMMITTED"):
        write()
