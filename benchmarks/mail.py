"""How fast queued mails leave, with default settings, and how fast the service answers reads meanwhile.

The mail server is a process of its own that accepts everything. Statements are counted by Postgres' own statistics
of rows and transactions, so the counts do not depend on the speed of the machine.
"""

import http.client
import multiprocessing
import signal
import socketserver
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.sharedctypes import Synchronized
from statistics import median
from typing import Any

import psycopg

from benchmarks.footprint import PlatformFailed
from benchmarks.reporting import Table
from benchmarks.running import cpu_seconds
from platform_core.topology import NOTIFICATION
from tests.e2e.stack import Shop, Stack, temporary_stack

PEOPLE = 1000
READS = 200
LONGEST_SECONDS = 3600.0
_USERS = """
    INSERT INTO user_svc.user_svc_user
        (id, created_at, updated_at, version, name, email, email_key, phone, address, password, is_active)
    SELECT 1000000 + n, now(), now(), 1, 'User ' || n, 'user' || n || '@example.com', 'user' || n || '@example.com',
           '', '', '', true
    FROM generate_series(1, %(people)s::bigint) AS n
"""
_MAILS = """
    WITH notification AS (
        INSERT INTO notification_svc.notification_svc_notification
            (created_at, updated_at, version, user_id, type, channel, recipient, subject, message, data, status,
             attempts, caller, sender_key, fingerprint)
        SELECT now(), now(), 1, 1000001 + n %% %(people)s, 'order_confirmed', 'email', '',
               'Order ' || n || ' is confirmed', 'Thank you for your order.', '', 'queued', 0, 'service:order-service',
               'benchmark-' || n, '\\x00'
        FROM generate_series(1, %(mails)s::bigint) AS n
        RETURNING id
    )
    INSERT INTO notification_svc.outbox_outboxmessage
        (kind, destination, aggregate, key, payload, state, attempts, available_at, last_error, request_id,
         traceparent, "user", created_at)
    SELECT 'notification.deliver', 'email', 'notification:' || id, 'notification-' || id,
           jsonb_build_object('notificationId', id), 'pending', 0, now(), '', '-', '', '', now()
    FROM notification
"""
_LEFT = "SELECT count(*) FROM notification_svc.outbox_outboxmessage WHERE state = 'pending' AND destination = 'email'"
_SENT = "SELECT count(*) FROM notification_svc.notification_svc_notification WHERE status = 'sent'"
_COMMITS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"


@dataclass(frozen=True, slots=True)
class Drain:
    """Reads are the medians of a list of notifications. Commits are of the whole database, the reads included."""

    mails: int
    seconds: float
    accepted: int
    connections: int
    worker_cpu_ms: float
    commits: float
    read_idle_ms: float
    read_busy_ms: float

    @property
    def per_second(self) -> float:
        return self.mails / self.seconds


class _Conversation(socketserver.StreamRequestHandler):
    """SMTP as far as the worker needs it. It accepts every mail."""

    def handle(self) -> None:
        server: Any = self.server
        with server.connections.get_lock():
            server.connections.value += 1
        self.wfile.write(b"220 sink ESMTP\r\n")
        in_mail = False
        while line := self.rfile.readline():
            if in_mail:
                if line == b".\r\n":
                    in_mail = False
                    with server.accepted.get_lock():
                        server.accepted.value += 1
                    self.wfile.write(b"250 OK\r\n")
                continue
            command = line[:4].upper()
            in_mail = command == b"DATA"
            answers = {b"EHLO": b"250-sink\r\n250 PIPELINING\r\n", b"DATA": b"354 Go on\r\n", b"QUIT": b"221 Bye\r\n"}
            self.wfile.write(answers.get(command, b"250 OK\r\n"))


class _Sink(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, accepted: Any, connections: Any) -> None:
        self.accepted, self.connections = accepted, connections
        super().__init__(("127.0.0.1", 0), _Conversation)


def _serve(server: _Sink) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server.serve_forever()


@contextmanager
def _sink() -> Iterator[tuple[int, "Synchronized[int]", "Synchronized[int]"]]:
    """A mail server in a process of its own: its port, and the counts of mails and of connections."""
    spawned = multiprocessing.get_context("fork")
    accepted, connections = spawned.Value("q", 0), spawned.Value("q", 0)
    server = _Sink(accepted, connections)
    process = spawned.Process(target=_serve, args=(server,), daemon=True)
    process.start()
    server.socket.close()
    try:
        yield server.server_address[1], accepted, connections
    finally:
        process.terminate()
        process.join()


def measure_mail(mails: int) -> Drain:
    """Queues the mails while the worker is busy with nothing, and waits until all are sent. Raises PlatformFailed."""
    with _sink() as (port, accepted, connections), temporary_stack() as stack:
        try:
            stack.up(EMAIL_URL=f"smtp://127.0.0.1:{port}")
            shop = Shop(stack)
            idle = _reads(shop)
            with psycopg.connect(stack.database_url(), autocommit=True) as connection:
                connection.execute(_USERS, {"people": PEOPLE})
                worker = _worker(stack)
                cpu, commits = cpu_seconds([worker]), _number(connection, _COMMITS)
                connection.execute(_MAILS, {"people": PEOPLE, "mails": mails})
                began, busy = time.monotonic(), []
                while _number(connection, _LEFT):
                    busy.append(_reads(shop, 5))
                    if time.monotonic() - began > LONGEST_SECONDS:
                        raise PlatformFailed(f"{_number(connection, _LEFT)} mails are left.")
                    time.sleep(0.2)
                seconds = time.monotonic() - began
                if (sent := _number(connection, _SENT)) != mails:
                    raise PlatformFailed(f"{sent} of {mails} mails are marked as sent:\n{stack.said()[-2000:]}")
                used = 1000 * (cpu_seconds([worker]) - cpu) / mails
                each = (_number(connection, _COMMITS) - commits) / mails
        except (AssertionError, OSError, http.client.HTTPException) as error:
            raise PlatformFailed(str(error)) from None
        return Drain(mails, seconds, accepted.value, connections.value, used, each, idle, median(busy))


def _worker(stack: Stack) -> Any:
    (worker,) = (each for each in stack.workers() if NOTIFICATION.name in " ".join(each.cmdline()))
    return worker


def _reads(shop: Shop, count: int = READS) -> float:
    """The median time of a read, in milliseconds."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        shop.get(NOTIFICATION, "/api/notifications?limit=20")
        times.append(1000 * (time.perf_counter() - began))
    return median(times)


def _number(connection: psycopg.Connection[Any], query: str) -> int:
    ((found,),) = connection.execute(query.encode()).fetchall()
    return int(found)


def mail_table(drain: Drain) -> Table:
    """The figures of a drain."""
    rows = [
        ["mails", f"{drain.mails:,}"],
        ["mails per second", f"{drain.per_second:.0f}"],
        ["connections to the mail server", f"{drain.connections}"],
        ["mails that were sent twice", f"{drain.accepted - drain.mails}"],
        ["the worker's CPU for a mail, ms", f"{drain.worker_cpu_ms:.2f}"],
        ["commits for a mail, of all services", f"{drain.commits:.2f}"],
        ["a read meanwhile, ms (idle)", f"{drain.read_busy_ms:.1f} ({drain.read_idle_ms:.1f})"],
        ["a read meanwhile : idle", f"{drain.read_busy_ms / drain.read_idle_ms:.2f}"],
    ]
    return Table("Queued mails to a local mail server, default settings", ("", "measured"), rows)


def as_json(drain: Drain, about: Mapping[str, Any]) -> dict[str, Any]:
    return {"about": about, **asdict(drain)}
