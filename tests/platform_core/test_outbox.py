"""The outbox: queued messages are delivered in order by any worker, and once if nothing crashes."""

import threading
from datetime import timedelta
from itertools import pairwise
from smtplib import SMTPDataError

import pytest
from django.db import connection, transaction
from django.utils.timezone import now
from psycopg.pq import TransactionStatus

from platform_core.clients.errors import (
    CallerRefused,
    PeerConnectionFailed,
    PeerDropped,
    PeerFailed,
    PeerRefused,
    PeerTimeout,
)
from platform_core.http import context
from platform_core.http.context import Context, entered
from platform_core.outbox import queue
from platform_core.outbox.lanes import deliver_due
from platform_core.outbox.models import OutboxMessage
from platform_core.outbox.queue import (
    BATCH,
    DestinationUnreachable,
    Handler,
    Message,
    PermanentFailure,
    claim,
    enqueue,
    redrive,
)
from platform_core.worker.duties import Duty, work
from tests.wire import Caller, at_once

pytestmark = pytest.mark.django_db(transaction=True)


def meanwhile(call):
    """From another thread, while this one's transaction stays open."""
    return Caller(call).answer()


class There:
    """The destination. It accepts messages or fails as configured."""

    def __init__(self):
        self.taken = []
        self.failure = None
        self.tried = 0

    def deliver(self, message):
        self.tried += 1
        if self.failure:
            raise self.failure
        self.taken.append(message.key)


@pytest.fixture(autouse=True)
def one_at_a_time(settings):
    """`test_lanes.py` tests several deliveries at once."""
    settings.OUTBOX_CONCURRENCY = 1


@pytest.fixture
def there():
    return There()


@pytest.fixture
def round_(there):
    """Runs one round of a worker."""

    def run(stopping=None, **options):
        handlers = {"note": Handler(there.deliver, **options)}
        return deliver_due("there", handlers, stopping or threading.Event())

    return run


def put(*keys, aggregate=None, destination="there", kind="note"):
    """Each message has its own aggregate unless ``aggregate`` is given."""
    enqueue(*(Message(kind, destination, aggregate or f"thing:{key}", key, {"n": 1}) for key in keys))


def row(key):
    return OutboxMessage.objects.get(key=key)


def all_due():
    OutboxMessage.objects.update(available_at=now() - timedelta(seconds=1))


def leases_run_out():
    OutboxMessage.objects.filter(leased_until__isnull=False).update(leased_until=now() - timedelta(seconds=1))


def keys(messages):
    return [message.key for message in messages]


def refused(status):
    return PeerRefused("there", status, "no", "No.", [])


def _but_refusals(failures):
    return [failure for failure in failures if not isinstance(failure, CallerRefused)]


UNREACHABLE = [
    PeerConnectionFailed("there", "x"),
    PeerDropped("there", "x"),
    PeerTimeout("there", "x"),
    PeerFailed("there", "x", 503),
    CallerRefused("there", 401, "x"),
    DestinationUnreachable("x"),
    ConnectionRefusedError("x"),
]
DEFERRED = [PeerFailed("there", "x", 500), PeerTimeout("elsewhere", "x"), TimeoutError("x"), SMTPDataError(451, "x")]


def test_a_message_is_delivered_and_stays_as_a_record(there, round_):
    put("a")
    assert round_() is True
    assert round_() is False
    assert there.taken == ["a"]
    message = row("a")
    assert (message.state, message.attempts, message.lease, message.last_error) == ("delivered", 1, None, "")
    assert message.delivered_at is not None


def test_a_message_of_a_change_that_is_rolled_back_is_never_sent(there, round_):
    with transaction.atomic():
        put("a")
        transaction.set_rollback(True)
    round_()
    assert there.taken == []


def test_a_message_of_a_change_that_is_not_committed_yet_waits(there, round_):
    with transaction.atomic():
        put("a")
        assert meanwhile(round_) is False
    assert there.taken == []
    round_()
    assert there.taken == ["a"]


def test_nothing_is_sent_to_another_destination(there, round_):
    put("a", destination="elsewhere")
    assert round_() is False
    assert there.taken == []


def test_two_workers_never_hold_the_same_message():
    put(*(f"m{n}" for n in range(BATCH + 5)))
    with transaction.atomic():
        mine = keys(claim("there"))
        others = keys(meanwhile(lambda: claim("there")))
    assert len(mine) == BATCH
    assert len(others) == 5
    assert not set(mine) & set(others)


def test_many_workers_at_once_deliver_each_message_once(there, round_):
    put(*(f"m{n}" for n in range(60)))

    def worker():
        while round_():
            pass

    at_once([worker] * 4)
    round_()
    assert sorted(there.taken) == sorted(f"m{n}" for n in range(60))


def test_messages_about_one_thing_arrive_in_order(there, round_):
    put("first", "second", "third", aggregate="order:1")
    while round_():
        pass
    assert there.taken == ["first", "second", "third"]


def test_a_message_waits_for_an_earlier_one_about_the_same_thing(there, round_):
    put("first", "second", aggregate="order:1")
    there.failure = refused(429)
    round_()
    there.failure = None
    assert round_() is False
    assert there.taken == []
    all_due()
    while round_():
        pass
    assert there.taken == ["first", "second"]


def test_a_message_waits_for_an_earlier_one_that_another_worker_holds():
    put("first", "second", aggregate="order:1")
    with transaction.atomic():
        assert keys(claim("there")) == ["first"]
        assert meanwhile(lambda: claim("there")) == []
    assert claim("there") == []


def test_messages_about_one_thing_to_different_destinations_do_not_wait_for_each_other():
    put("slow", aggregate="order:1", destination="elsewhere")
    put("quick", aggregate="order:1")
    assert keys(claim("there")) == ["quick"]


def test_a_dead_message_does_not_hold_up_the_next(there, round_):
    put("first", aggregate="order:1")
    there.failure = refused(422)
    round_()
    put("second", aggregate="order:1")
    there.failure = None
    round_()
    assert row("first").state == "dead"
    assert there.taken == ["second"]


def test_the_oldest_of_many_due_messages_come_first():
    put(*(f"m{n}" for n in range(BATCH + 1)))
    OutboxMessage.objects.filter(key="m10").update(available_at=now() - timedelta(hours=1))
    assert keys(claim("there")) == [*(f"m{n}" for n in range(BATCH - 1)), "m10"]


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_a_permanent_refusal_parks_the_message_at_once(there, round_, status):
    put("a")
    there.failure = refused(status)
    round_()
    message = row("a")
    assert (message.state, message.attempts) == ("dead", 1)
    assert message.last_error == "PeerRefused: there: No."


@pytest.mark.parametrize("status", [408, 409, 425, 429])
def test_a_temporary_refusal_is_retried(there, round_, status):
    put("a")
    there.failure = refused(status)
    round_()
    assert row("a").state == "pending"
    there.failure = None
    all_due()
    round_()
    assert (there.taken, row("a").attempts) == (["a"], 2)


def test_a_message_that_is_refused_because_of_its_sender_is_never_parked(there, round_):
    put("a")
    there.failure = CallerRefused("there", 401, "The token was issued in the future.")
    for attempt in range(1, 6):
        round_(max_attempts=3)
        assert (row("a").attempts, row("a").state) == (attempt, "pending")
        all_due()
    there.failure = None
    round_(max_attempts=3)
    assert there.taken == ["a"]


def test_a_permanent_failure_is_parked_at_once(there, round_):
    put("a")
    there.failure = PermanentFailure("There is no user 1.")
    round_()
    assert row("a").state == "dead"


@pytest.mark.parametrize("failure", DEFERRED, ids=repr)
def test_a_deferral_belongs_to_its_message_and_the_rest_go_on(there, round_, failure):
    put("a", "b", "c")
    there.failure = failure
    assert round_() is True
    assert there.tried == 3
    assert [(row(key).attempts, row(key).state) for key in "abc"] == [(1, "pending")] * 3


@pytest.mark.parametrize("failure", [*_but_refusals(UNREACHABLE), *DEFERRED, ZeroDivisionError("a bug")], ids=repr)
def test_a_message_is_parked_after_its_last_attempt(there, round_, failure):
    put("a")
    there.failure = failure
    for attempt in range(1, 4):
        round_(max_attempts=3)
        assert row("a").attempts == attempt
        assert row("a").state == ("dead" if attempt == 3 else "pending")
        all_due()
    assert round_(max_attempts=3) is False
    assert there.tried == 3


@pytest.mark.parametrize("failure", [*UNREACHABLE, refused(404), PermanentFailure("x"), ZeroDivisionError()], ids=repr)
def test_a_message_without_a_last_attempt_is_never_parked(there, round_, failure):
    put("a")
    there.failure = failure
    OutboxMessage.objects.update(attempts=5000)
    round_(max_attempts=None)
    assert row("a").state == "pending"


@pytest.mark.parametrize("failure", UNREACHABLE, ids=repr)
def test_an_unreachable_destination_is_not_tried_with_the_other_messages(there, round_, failure):
    put("a", "b", "c")
    there.failure = failure
    assert round_() is False
    assert there.tried == 1
    assert [(row(key).attempts, row(key).lease) for key in "abc"] == [(1, None), (0, None), (0, None)]
    assert keys(claim("there")) == ["b", "c"]


def test_a_refused_message_does_not_stop_the_rest(there, round_):
    put("a", "b", "c")
    there.failure = refused(422)
    assert round_() is True
    assert there.tried == 3


def test_a_stopping_worker_returns_untried_messages(there):
    put("a", "b", "c")
    stopping = threading.Event()

    def deliver(message):
        there.deliver(message)
        stopping.set()

    deliver_due("there", {"note": Handler(deliver)}, stopping)
    assert there.taken == ["a"]
    assert [row(key).state for key in "abc"] == ["delivered", "pending", "pending"]
    assert keys(claim("there")) == ["b", "c"]
    assert row("b").attempts == 1


def test_messages_of_a_killed_worker_are_delivered_after_the_lease(there, round_):
    put("a")
    claim("there")
    assert round_() is False
    leases_run_out()
    round_()
    assert there.taken == ["a"]
    assert row("a").attempts == 2


def test_a_failure_reported_after_the_lease_changes_nothing(there, round_):
    put("a")
    reported = []

    def deliver(message):
        leases_run_out()
        meanwhile(round_)
        raise PeerTimeout("there", "x")

    deliver_due("there", {"note": Handler(deliver, on_failure=lambda *args: reported.append(args))}, threading.Event())
    assert there.taken == ["a"]
    assert row("a").state == "delivered"
    assert reported == []


def test_a_success_reported_after_the_lease_changes_nothing(there, round_):
    put("a")
    there.failure = refused(422)
    reported = []

    def deliver(message):
        leases_run_out()
        meanwhile(round_)

    deliver_due("there", {"note": Handler(deliver, on_delivered=reported.append)}, threading.Event())
    assert row("a").state == "dead"
    assert reported == []


def test_the_result_of_an_attempt_and_its_record_are_one_transaction(there, round_):
    def fails(*_):
        OutboxMessage.objects.filter(key="b").delete()
        raise ZeroDivisionError

    put("a", "b")
    with pytest.raises(ZeroDivisionError):
        round_(on_delivered=fails)
    assert row("a").state == "pending"
    assert row("b")
    leases_run_out()
    there.failure = PermanentFailure("x")
    with pytest.raises(ZeroDivisionError):
        round_(on_failure=fails)
    assert row("a").state == "pending"
    assert row("b")


def test_no_transaction_is_open_during_calls_to_peers(round_):
    seen = []

    def deliver(message):
        connection.ensure_connection()
        seen.append((connection.in_atomic_block, connection.connection.info.transaction_status))

    put("a", "b")
    deliver_due("there", {"note": Handler(deliver)}, threading.Event())
    assert seen == [(False, TransactionStatus.IDLE)] * 2


def test_the_original_requests_ids_travel_with_the_delivery():
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with entered(Context(request_id="from-the-browser", traceparent=trace)):
        put("a")
    seen = []
    handler = Handler(lambda message: seen.append(context.current()))
    deliver_due("there", {"note": handler}, threading.Event())
    (ctx,) = seen
    assert ctx.request_id == "from-the-browser"
    assert ctx.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert ctx.traceparent != trace
    assert ctx.deadline is not None


def test_a_message_of_an_unknown_kind_waits_and_blocks_no_other(there, round_):
    put("a", kind="of a later version")
    put("b")
    round_()
    assert there.taken == ["b"]
    assert (row("a").state, row("a").last_error) == (
        "pending",
        "LookupError: no handler for messages of kind of a later version",
    )


def test_a_message_that_failed_is_not_tried_again_at_once(there, round_):
    put("a")
    there.failure = PeerTimeout("there", "x")
    round_()
    there.failure = None
    assert round_() is False
    assert there.taken == []
    assert row("a").available_at > row("a").created_at


def test_the_pause_between_attempts_grows_up_to_a_limit():
    pauses = [[queue.backoff(attempt, 300) for _ in range(200)] for attempt in range(1, 40)]
    for shorter, longer in pairwise(pauses[:10]):
        assert max(shorter) <= min(longer)
    assert all(150 <= pause <= 300 for late in pauses[12:] for pause in late)
    assert queue.backoff(10**6, 300) <= 300


def test_the_pause_is_not_the_same_for_all_that_failed_together():
    assert len({queue.backoff(5, 300) for _ in range(50)}) > 40


def test_a_dead_message_can_be_redriven_with_the_same_key(there, round_):
    put("a", "b")
    there.failure = refused(422)
    round_()
    there.failure = None
    assert redrive(OutboxMessage.objects.filter(key="a")) == 1
    assert row("a").attempts == 0
    round_()
    assert there.taken == ["a"]
    assert row("b").state == "dead"


def test_redriving_only_affects_dead_messages(there, round_):
    put("delivered")
    round_()
    put("waiting")
    assert redrive(OutboxMessage.objects.all()) == 0
    assert [row("delivered").state, row("waiting").state] == ["delivered", "pending"]


def test_a_redriven_message_goes_before_a_later_one_that_still_waits(there, round_):
    put("first", "second", aggregate="order:1")
    there.failure = refused(422)
    round_()
    redrive(OutboxMessage.objects.all())
    there.failure = None
    while round_():
        pass
    assert there.taken == ["first", "second"]


def test_a_worker_repeats_its_duties_until_it_is_stopped(there, round_):
    put("a", "b")
    stopping = threading.Event()

    def duty(event):
        more = round_(event)
        if len(there.taken) == 2:
            stopping.set()
        return more

    meanwhile(lambda: work([Duty("deliver", duty, pause=0.01)], stopping))
    assert there.taken == ["a", "b"]


def test_a_duty_that_fails_does_not_end_the_worker_or_the_other_duties():
    stopping = threading.Event()
    rounds = []

    def fails(event):
        rounds.append("failed")
        if rounds.count("failed") == 2:
            stopping.set()
        raise ZeroDivisionError

    def works(event):
        rounds.append("worked")
        return False

    meanwhile(lambda: work([Duty("bad", fails, pause=0.0), Duty("good", works, pause=0.01)], stopping))
    assert rounds.count("failed") == 2
    assert rounds.count("worked") > 2


def test_a_duty_whose_connection_was_cut_goes_on_with_a_new_one():
    stopping = threading.Event()
    pids = []

    def duty(event):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            pids.append(cursor.fetchone()[0])
            if len(pids) == 1:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        stopping.set()
        return False

    meanwhile(lambda: work([Duty("deliver", duty, pause=0.0)], stopping))
    assert len(set(pids)) == 2
