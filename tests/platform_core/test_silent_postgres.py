"""Waits on Postgres end at the deadline of the request, on this side of the connection; and silence is noticed."""

import socket
import threading
import time
from contextlib import contextmanager, suppress

import psycopg
import pytest
from django.db import DEFAULT_DB_ALIAS, OperationalError, connection, connections, transaction
from django.db.utils import load_backend

from platform_core.conf.environment import ROOT
from platform_core.db import isolation, silence
from platform_core.db.bounds import long_waits
from platform_core.db.silence import Answers, Silent, Watch
from platform_core.db.waiting import Unanswered, connected
from platform_core.http import context
from platform_core.models import FailedItem
from platform_core.topology import SERVICES
from tests.e2e.stack import eventually

AMPLE = 5.0
"""Far beyond every bound of these tests, far below the waits that they would replace."""


class Silencer:
    """A proxy in front of Postgres that can stop passing anything on, in both directions."""

    def __init__(self, target: tuple[int, object]) -> None:
        self.target, self.is_silent, self.sockets = target, False, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self.listener.accept()
                there = socket.socket(self.target[0], socket.SOCK_STREAM)
                there.connect(self.target[1])
                self.sockets += [here, there]
                for source, sink in ((here, there), (there, here)):
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                while self.is_silent:
                    time.sleep(0.02)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for each in (self.listener, *self.sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # a thread may still be reading it
            each.close()


@pytest.fixture
def silencer(transactional_db):
    """Django's connection of this thread goes through a proxy."""
    info = connection.ensure_connection() or connection.connection.info
    host, port = info.host, info.port
    unix = host.startswith("/")
    target = (socket.AF_UNIX, f"{host}/.s.PGSQL.{port}") if unix else (socket.AF_INET, (host, port))
    connection.close()
    before = {key: connection.settings_dict[key] for key in ("HOST", "PORT")}
    proxy = Silencer(target)
    connection.settings_dict.update(HOST="127.0.0.1", PORT=str(proxy.port))
    yield proxy
    proxy.is_silent = False
    connection.close()
    connection.settings_dict.update(before)
    proxy.close()
    eventually("the watch of this process calms down", lambda: silence.watch.answers is Answers.ALL, 20)


@contextmanager
def quick():
    """The block must not take longer than `AMPLE`."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < AMPLE


def run(statement: str) -> object:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone() if cursor.description else None


def test_a_statement_ends_at_the_deadline(silencer):
    run("SELECT 1")
    silencer.is_silent = True
    with quick(), context.grace(0.5), pytest.raises(OperationalError, match="did not answer within"):
        run("SELECT 1")


def test_the_next_query_of_the_same_request_connects_anew(silencer):
    run("SELECT 1")
    silencer.is_silent = True
    with context.grace(0.3), pytest.raises(OperationalError):
        run("SELECT 1")
    silencer.is_silent = False
    assert run("SELECT 7") == (7,)


def test_a_commit_ends_at_the_deadline_and_does_not_connect_again(silencer):
    def commit_into_silence() -> None:
        with transaction.atomic():
            run("SELECT 1")
            silencer.is_silent = True

    with quick(), context.grace(0.5), pytest.raises(OperationalError):
        commit_into_silence()


def test_a_new_connection_ends_at_the_deadline(silencer):
    silencer.is_silent = True
    with quick(), context.grace(0.5), pytest.raises(OperationalError, match="accepted no connection within"):
        run("SELECT 1")


def test_behind_a_host_that_hangs_the_next_one_is_asked_within_the_deadline(silencer):
    real = connection.settings_dict["HOST"], connection.settings_dict["PORT"]
    second = Silencer(silencer.target)
    silencer.is_silent = True
    try:
        connection.settings_dict.update(HOST=f"{real[0]},127.0.0.1", PORT=f"{real[1]},{second.port}")
        with context.grace(AMPLE):
            assert run("SELECT 7") == (7,)
        assert silence.ask_postgres() is Answers.ALL
    finally:
        connection.settings_dict.update(HOST=real[0], PORT=real[1])
        second.close()


def test_background_work_has_a_bound_too(silencer):
    run("SELECT 1")
    silencer.is_silent = True
    with quick(), long_waits(0.5), pytest.raises(OperationalError, match="did not answer within"):
        run("SELECT 1")


def test_long_waits_do_not_move_the_deadline_of_a_request(silencer):
    run("SELECT 1")
    silencer.is_silent = True
    with quick(), context.grace(0.5), long_waits(60), pytest.raises(OperationalError):
        run("SELECT 1")


def test_a_copy_ends_at_the_deadline(silencer):
    def copy_rows() -> None:
        with connection.cursor() as cursor, cursor.copy("COPY note FROM STDIN") as copy:
            silencer.is_silent = True
            for _ in range(100_000):
                copy.write_row(["x" * 1000])

    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE note (text text)")
    with quick(), context.grace(0.5), pytest.raises((OperationalError, psycopg.OperationalError)):
        copy_rows()


def test_a_statement_that_is_only_slow_ends_at_the_deadline_and_postgres_ends_it_soon_after(transactional_db):
    pid = run("SELECT pg_backend_pid()")
    with quick(), context.grace(0.5), pytest.raises(OperationalError, match="did not answer within"):
        run("SELECT pg_sleep(25)")
    still = "SELECT count(*) FROM pg_stat_activity WHERE pid = {}".format(*pid)
    eventually("ended", lambda: run(still) == (0,), 20)


def test_a_connection_that_comes_too_late_is_closed():
    closed = threading.Event()

    class Late:
        def close(self):
            closed.set()

    def connect():
        time.sleep(0.5)
        return Late()

    with pytest.raises(Unanswered):
        connected(connect, 0.1)
    assert closed.wait(AMPLE)


def test_what_connecting_raises_is_raised():
    def connect():
        raise psycopg.OperationalError("refused")

    with pytest.raises(psycopg.OperationalError, match="refused"):
        connected(connect, AMPLE)


def test_postgres_that_answers_answers_all(silencer):
    assert silence.ask_postgres() is Answers.ALL


def test_a_frozen_postgres_answers_nothing(silencer):
    silencer.is_silent = True
    with quick():
        assert silence.ask_postgres() is Answers.NOTHING


def test_a_postgres_that_refuses_connections_is_not_silent(silencer):
    silencer.listener.close()
    assert silence.ask_postgres() is Answers.ALL


def test_a_long_wait_makes_the_watch_ask_and_an_answer_ends_the_silence():
    answers = [Answers.NOTHING]
    watch = Watch(lambda: answers[-1])
    watch.start()
    with watch.waiting():
        eventually("noticed", lambda: watch.answers is Answers.NOTHING, 20)
    with pytest.raises(Silent):
        watch.refuse_if_silent()
    answers.append(Answers.ALL)
    eventually("over", lambda: watch.answers is Answers.ALL, 20)
    watch.refuse_if_silent()


def test_a_watch_that_cannot_find_out_refuses_nothing_and_goes_on():
    def ask():
        asked.append(1)
        if len(asked) == 1:
            return Answers.NOTHING
        if len(asked) < 4:
            raise RuntimeError("a fault of the watch itself")
        return Answers.NOTHING

    asked = []
    watch = Watch(ask)
    watch.start()
    with watch.waiting():
        eventually("noticed", lambda: watch.answers is Answers.NOTHING, 20)
        eventually("refuses nothing", lambda: watch.answers is Answers.ALL, 20)
        eventually("notices again", lambda: watch.answers is Answers.NOTHING, 20)


def test_a_silence_is_remembered_and_a_late_answer_is_one():
    def ask():
        asked.set()
        time.sleep(1.3)
        return Answers.ALL

    asked = threading.Event()
    watch = Watch(ask)
    assert not watch.was_silent(60)
    watch.start()
    with watch.waiting():
        assert asked.wait(20)
        eventually("remembered", lambda: watch.was_silent(60), 20)
    assert watch.answers is Answers.ALL
    assert not watch.was_silent(0)


@pytest.fixture
def own_watch(monkeypatch):
    """A watch that has found nothing. That of the process may have found this machine slow."""
    watch = Watch(lambda: Answers.ALL)
    monkeypatch.setattr(isolation, "watch", watch)
    return watch


def test_a_statement_that_runs_into_a_limit_is_a_fault_of_its_item_unless_postgres_was_silent(
    db, monkeypatch, own_watch
):
    def process():
        run("SET LOCAL statement_timeout = 50")
        run("SELECT pg_sleep(5)")

    assert not isolation.attempt_item("test", "1", process)
    assert FailedItem.objects.get().attempts == 1
    monkeypatch.setattr(own_watch, "_silent_at", time.monotonic())
    with pytest.raises(OperationalError, match="canceling statement"):
        isolation.attempt_item("test", "1", process)
    assert FailedItem.objects.get().attempts == 1


def test_a_wait_that_takes_too_long_is_a_fault_of_its_item_unless_postgres_was_silent(
    transactional_db, monkeypatch, own_watch
):
    def process():
        with long_waits(0.5):
            run("SELECT pg_sleep(60)")

    assert not isolation.attempt_item("test", "1", process)
    assert FailedItem.objects.get().attempts == 1
    monkeypatch.setattr(own_watch, "_silent_at", time.monotonic())
    with pytest.raises(OperationalError, match="did not answer within"):
        isolation.attempt_item("test", "1", process)
    assert FailedItem.objects.get().attempts == 1


def test_short_waits_make_nobody_ask():
    asked = threading.Event()
    watch = Watch(lambda: asked.set() or Answers.ALL)
    watch.start()
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        with watch.waiting():
            time.sleep(0.01)
    assert not asked.is_set()


@pytest.fixture
def answers():
    """Sets what Postgres last answered, and will answer."""
    with pytest.MonkeyPatch.context() as during:

        def known(found: Answers) -> None:
            during.setattr(silence.watch, "_ask", lambda: found)
            during.setattr(silence.watch, "answers", found)

        yield known


def test_silence_refuses_a_query_without_asking_postgres(silencer, answers, client):
    run("SELECT 1")
    answers(Answers.NOTHING)
    silencer.is_silent = True  # a query would hang
    with quick():
        answer = client.get("/health/ready")
        assert answer.status_code == 503
        assert answer.json()["checks"]["database"]["status"] == "down"
    assert client.get("/health/live").status_code == 200


def test_when_postgres_does_not_commit_writes_are_refused_and_reads_answered(silencer, answers, client):
    answers(Answers.READS)
    assert client.get("/health/ready").status_code == 200
    refused = client.post("/api/notes", {"title": "x"}, content_type="application/json")
    assert refused.status_code == 503
    assert refused.json()["detail"] == "The database cannot store anything at the moment."
    assert refused.headers["Retry-After"] == "1"


def test_the_backend_is_ours():
    assert load_backend(connection.settings_dict["ENGINE"]).DatabaseWrapper is type(connections[DEFAULT_DB_ALIAS])


def test_no_connection_of_the_library_waits_without_a_bound():
    """`open_connection` and Django's backend are the ways to Postgres."""
    folders = ("platform_core", "deploy", *(service.package for service in SERVICES))
    found = [
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if "psycopg.connect(" in path.read_text() or "psycopg.Connection.connect(" in path.read_text()
    ]
    assert found == []
