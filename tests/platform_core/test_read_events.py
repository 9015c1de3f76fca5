"""GET /api/events."""

import threading

import psycopg
import pytest
from django.db import connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from platform_core.events.log import LAST_SEQUENCE, NewEvent, append
from platform_core.events.models import Event, FeedConsumer, FeedEpoch, ServerHistory
from platform_core.topology import ANALYTICS, ORDER
from tests import people
from tests.platform_core.notes.models import Note
from tests.wire import Caller, assert_problem, feed, until

BATCH = "application/cloudevents-batch+json"
PENDING = "Feed-Pending"
BOB = {"name": "Bob", "label": "bob@example.com"}
shown = pytest.mark.django_db(transaction=True)
inside = pytest.mark.django_db


def batch(api, after: str = "0-0-0", limit: int = 1000) -> list[dict]:
    """The events after a position, as soon as none is hidden."""
    return feed(api, f"?limit={limit}&lastEventId={after}").json()


def hidden_seconds(api) -> float:
    """The metric for the age of hidden events."""
    (line,) = [s for s in api.get("/metrics").content.decode().splitlines() if s.startswith("feed_hidden_seconds ")]
    return float(line.split()[-1])


@pytest.fixture
def another_session():
    """A session with an open transaction that has an id."""
    place = {
        name: connection.get_connection_params().get(name) for name in ("dbname", "user", "password", "host", "port")
    }
    with psycopg.connect(**place) as session:
        session.execute("SELECT pg_current_xact_id()")
        yield session
        session.rollback()


@shown
def test_nothing_has_happened_yet(api):
    answer = api.client.get("/api/events", HTTP_ACCEPT="*/*")
    assert answer.status_code == 200
    assert answer["Content-Type"] == BATCH
    assert answer.json() == []
    assert not answer.has_header(PENDING)


@shown
@pytest.mark.parametrize("accept", [BATCH, "*/*", f"{BATCH}, application/json;q=0.5"])
def test_the_feed_is_a_cloudevents_batch(api, accept):
    created = api.post("/api/notes", BOB).json()
    batch(api)
    answer = api.client.get("/api/events", HTTP_ACCEPT=accept)
    assert answer["Content-Type"] == BATCH
    (event,) = answer.json()
    assert {"specversion", "id", "type", "source", "subject", "time", "data"} <= set(event)
    assert event["specversion"] == "1.0"
    assert event["type"] == "note.created"
    assert event["source"] == "order-service"
    assert event["subject"] == created["id"]
    assert event["time"].endswith("Z")
    assert isinstance(event["id"], str)
    assert event["data"]["version"] == 1


@shown
def test_every_change_has_one_event_in_order(api):
    bob = api.post("/api/notes", BOB).json()["id"]
    api.patch(f"/api/notes/{bob}", {"text": "1"})
    ann = api.post("/api/notes", {"name": "Ann", "label": "ann@example.com"}).json()["id"]
    api.put(f"/api/notes/{bob}", BOB)
    api.delete(f"/api/notes/{bob}")
    events = batch(api)
    assert [(event["type"], event["subject"]) for event in events] == [
        ("note.created", bob),
        ("note.updated", bob),
        ("note.created", ann),
        ("note.updated", bob),
        ("note.deleted", bob),
    ]
    versions = [event["data"]["version"] for event in events if event["subject"] == bob]
    assert versions == sorted(set(versions))


@shown
@pytest.mark.parametrize("limit", [1, 2, 4, 1000])
def test_reading_from_the_last_event_id_gives_each_event_once(api, limit):
    for number in range(4):
        api.post("/api/notes", {"name": "x", "label": f"x{number}@example.com"})
    whole, seen = batch(api), []
    while page := batch(api, seen[-1]["id"] if seen else "0-0-0", limit):
        assert len(page) <= limit and len(seen) < 100
        seen += page
    assert seen == whole
    assert len({event["id"] for event in seen}) == 4


@shown
def test_a_hundred_come_by_default_and_a_thousand_at_most(api):
    with transaction.atomic():
        append(*(NewEvent("note.created", n, {}) for n in range(1, 1101)))
    batch(api)
    assert len(api.get("/api/events").json()) == 100
    assert [event["subject"] for event in api.get("/api/events?limit=1000").json()] == [str(n) for n in range(1, 1001)]


@inside
@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "", "1.5", "9" * 40, "1_0", "%D9%A1"])
def test_another_limit_is_refused(api, limit):
    assert_problem(api.get(f"/api/events?limit={limit}"), 400, "invalid", ["limit"])


@inside
@pytest.mark.parametrize(
    "last",
    [
        *("x", "1", "1-2", "1-2-3-4", "-1-2-3", "1-2-x", "1--3", "1-2-3 4", "1-2-3%20", "a" * 100, "%00", "1-2-3%00"),
        *(
            "%D9%A1-2-3",
            "9999999999-1-1",
            "1-9999999999999999999-1",
            "1-1-9999999999999999999",
            "1-2-3;",
            "1.0-2-3",
            "",
        ),
    ],
)
def test_an_invalid_last_event_id_is_refused(api, last):
    assert_problem(api.get(f"/api/events?lastEventId={last}"), 400, "invalid", ["lastEventId"])


@inside
@given(last=st.text(max_size=30) | st.from_regex(r"[0-9]{1,10}-[0-9]{1,19}-[0-9]{1,19}", fullmatch=True))
def test_any_last_event_id_gives_a_valid_response(api, last):
    assert api.client.get("/api/events", {"lastEventId": last}, HTTP_ACCEPT=BATCH).status_code in (200, 400, 410)


@shown
def test_the_position_at_the_end_is_empty(api, note):
    last = batch(api)[-1]["id"]
    assert batch(api, last) == []
    position = feed(api)["Feed-Position"]
    assert batch(api, position) == []


BEYOND = ["999999999-999999999999999999-999999999999999999", "2-1-1", "1-999999999999999999-1"]


@shown
@pytest.mark.parametrize("last", BEYOND)
def test_a_position_beyond_the_end_is_refused(api, note, last, client):
    answer = api.get(f"/api/events?lastEventId={last}", headers={"Feed-Consumer": "x"})
    assert_problem(answer, 410, "events_lost")
    assert last in answer.json()["detail"]
    assert f"lastEventId={answer['Feed-Position']}" in answer.json()["detail"]
    assert not FeedConsumer.objects.exists(), "nothing is acknowledged"
    assert client.get("/health").json()["checks"]["history"] == {"status": "ok"}, "anybody may invent an id"


@shown
def test_a_service_that_has_read_more_than_there_is_proves_a_loss(api, note, production, client):
    caller = people.as_service(ANALYTICS, ORDER)
    assert api.get("/api/events?lastEventId=1-999999999999-7", headers=caller).status_code == 410
    lost = ServerHistory.objects.get().lost
    assert lost.startswith("analytics-service has read this feed up to 1-999999999999-7, and it ends at 1-")
    assert "new_epoch" in lost
    horizon = f"1-999999999999-{LAST_SEQUENCE}"
    ServerHistory.objects.update(lost="")
    assert api.get(f"/api/events?lastEventId={horizon}", headers=caller).status_code == 410
    assert not ServerHistory.objects.get().lost, "a horizon is no event; a crash may move it back by unused ids"


@inside
def test_an_unknown_parameter_is_refused(api):
    assert_problem(api.get("/api/events?cursor=x"), 400, "invalid", ["cursor"])


@inside
def test_clients_that_accept_cloudevents_get_problems_for_errors(api):
    answer = api.client.get("/api/events?limit=0", HTTP_ACCEPT=BATCH)
    assert_problem(answer, 400, "invalid", ["limit"])


@inside
@pytest.mark.parametrize(
    "method, path, body, headers",
    [
        ("post", "/api/notes", {"name": ""}, {}),
        ("post", "/api/notes", {"name": "x", "label": "ann@example.com"}, {}),
        ("post", "/api/notes", {"name": "x", "label": "ann@example.com"}, {"Idempotency-Key": "k"}),
        ("patch", "/api/notes/{id}", {"text": "2"}, {"If-Match": '"9"'}),
        ("patch", "/api/notes/{id}", {"label": "bob@example.com"}, {}),
        ("put", "/api/notes/{id}", {"name": "x"}, {}),
        ("put", "/api/notes/0", BOB, {}),
        ("delete", "/api/notes/{id}", None, {"If-Match": '"9"'}),
        ("delete", "/api/notes/0", None, {}),
    ],
)
def test_a_refused_change_writes_no_event(api, note, method, path, body, headers):
    api.post("/api/notes", BOB)
    before = Event.objects.count()
    answer = getattr(api, method)(path.format(**note), *([body] if body else []), headers=headers)
    assert answer.status_code >= 400
    assert Event.objects.count() == before


@shown
def test_a_change_whose_event_cannot_be_written_is_rolled_back(api, note):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE events_event ADD CONSTRAINT full_up CHECK (type = 'note.created') NOT VALID")
    try:
        api.client.raise_request_exception = False
        for answer in (api.patch(f"/api/notes/{note['id']}", {"text": "2"}), api.delete(f"/api/notes/{note['id']}")):
            assert_problem(answer, 500, "internal_error")
            assert "full_up" not in answer.content.decode()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE events_event DROP CONSTRAINT full_up")
    assert api.get(f"/api/notes/{note['id']}").json() == note


@shown
def test_an_older_open_transaction_hides_what_came_after_it_until_it_is_over(api, note, another_session):
    known = [event["id"] for event in api.get("/api/events").json()]
    api.post("/api/notes", BOB)
    hidden = api.get("/api/events")
    assert [event["id"] for event in hidden.json()] == known
    assert hidden[PENDING] == "true"
    another_session.rollback()
    events = batch(api)
    assert [event["type"] for event in events] == ["note.created", "note.created"]
    assert not api.get("/api/events").has_header(PENDING)


@shown
def test_an_open_transaction_that_hides_nothing_is_not_mentioned(api, note, another_session):
    another_session.rollback()
    seen = batch(api)
    another_session.execute("SELECT pg_current_xact_id()")
    answer = api.get("/api/events")
    assert answer.json() == seen
    assert not answer.has_header(PENDING)


@shown
def test_events_that_commit_late_are_not_missed(api, note):
    begun, go_on = threading.Event(), threading.Event()
    last = batch(api)[-1]["id"]

    def slow() -> None:
        with transaction.atomic():
            Note.objects.create(name="Slow", label="slow@example.com")
            append(NewEvent("note.created", 4711, {}))
            begun.set()
            go_on.wait(20)

    caller = Caller(slow)
    begun.wait(20)
    bob = api.post("/api/notes", BOB).json()["id"]
    early = api.get(f"/api/events?lastEventId={last}")
    assert early.json() == [] and early[PENDING] == "true"
    go_on.set()
    caller.answer()
    assert [event["subject"] for event in batch(api, last)] == ["4711", bob]


@shown
def test_a_reader_beside_many_writers_misses_nothing_and_sees_nothing_twice(api):
    writers, each = 6, 8

    def write(number: int) -> None:
        for turn in range(each):
            with transaction.atomic():
                append(NewEvent("note.created", number * 1000 + turn, {}))
                if turn % 2:  # its id is taken long before it commits
                    append(NewEvent("note.updated", number * 1000 + turn, {}))

    callers = [Caller(lambda n=n: write(n)) for n in range(1, writers + 1)]
    seen: list[dict] = []

    def everything_seen() -> bool:
        over = not any(caller.is_alive() for caller in callers)
        answer = api.get(f"/api/events?limit=7&lastEventId={seen[-1]['id'] if seen else '0-0-0'}")
        seen.extend(answer.json())
        return over and not answer.json() and not answer.has_header(PENDING)

    until(everything_seen, 60)
    for caller in callers:
        caller.answer()
    assert len(seen) == len({event["id"] for event in seen}) == Event.objects.count() == writers * each * 3 // 2
    for number in range(1, writers + 1):
        own = [int(event["subject"]) for event in seen if int(event["subject"]) // 1000 == number]
        assert own == sorted(own)


@shown
def test_after_a_move_to_another_server_the_feed_goes_on(api):
    """The new server's transaction ids start again. All old transactions have ended, even if their ids are higher."""
    with transaction.atomic():
        append(NewEvent("note.created", 1, {}))
    Event.objects.update(txid=10**15)
    FeedEpoch.objects.create(value=2)
    with transaction.atomic():
        append(NewEvent("note.created", 2, {}))
    events = batch(api)
    assert [event["subject"] for event in events] == ["1", "2"]
    assert [event["subject"] for event in batch(api, events[0]["id"])] == ["2"]
