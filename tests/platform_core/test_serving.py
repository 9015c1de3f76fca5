"""The worker process of gunicorn: requests, connections that wait, clients that are slow, and its end."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection

import pytest

from platform_core.environment import ROOT
from platform_core.stack.processes import die_with_parent
from tests.ports import free_ports
from tests.wire import until

pytestmark = pytest.mark.skipif(
    not hasattr(select, "epoll"), reason="gunicorn's own worker serves where there is no epoll"
)
THREADS = 2
KEEPALIVE = 1
PATIENCE = 20


class Served:
    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port

    def connection(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def socket(self, sent: bytes = b"") -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        sock.sendall(sent)
        return sock

    def get(self, path: str = "/") -> bytes:
        with closing(self.connection()) as connection:
            connection.request("GET", path)
            return connection.getresponse().read()

    def is_up(self) -> bool:
        try:
            return self.get() == b"/"
        except OSError:
            return False


@contextmanager
def serving(**options: object) -> Iterator[Served]:
    (port,) = free_ports(1)
    given = {"bind": f"127.0.0.1:{port}", "workers": 1, "threads": THREADS, "keep-alive": KEEPALIVE, **options}
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--worker-class",
        "platform_core.serving.Worker",
        "--no-control-socket",
    ]
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    process = subprocess.Popen(
        [*command, *words, "tests.platform_core.served:application"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    served = Served(process, port)
    try:
        until(served.is_up)
        yield served
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as found:
        yield found


def test_many_requests_on_many_connections_are_all_answered(served):
    def client(number: int) -> int:
        with closing(served.connection()) as connection:
            for turn in range(50):
                connection.request("GET", f"/{number}-{turn}")
                assert connection.getresponse().read() == f"/{number}-{turn}".encode()
        return number

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(client, range(16))) == list(range(16))


def test_requests_that_come_right_behind_each_other_are_answered_in_their_order(served):
    with closing(served.socket(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(20)))) as sock:
        received = b""
        while not received.endswith(b"\r\n\r\n/19"):
            part = sock.recv(65536)
            assert part, received
            received += part
    assert [received.index(b"\r\n\r\n/%d" % n) for n in range(20)] == sorted(
        received.index(b"\r\n\r\n/%d" % n) for n in range(20)
    )


def test_connections_on_which_nothing_comes_hold_no_thread(served):
    silent = [served.socket() for _ in range(20)]
    assert served.get("/here") == b"/here"
    for sock in silent:
        sock.close()


def test_who_begins_a_request_and_does_not_end_it_is_cut_off(served):
    """More of them than there are threads."""
    slow = [served.socket(b"GET / HTTP/1.1\r\nHos") for _ in range(THREADS * 2)]
    assert served.get("/here") == b"/here"
    for sock in slow:
        assert sock.recv(100) == b""
        sock.close()


def test_a_head_that_trickles_is_cut_off_too(served):
    with closing(served.socket(b"GET / HTTP/1.1\r\n")) as sock:
        sock.settimeout(0.05)
        for _ in range(400):
            try:
                sock.sendall(b"A: b\r\n")
                if sock.recv(100) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        else:
            pytest.fail("never cut off")


def test_a_request_that_is_under_way_is_not_cut_off(served):
    with closing(served.socket()) as sock:
        for _ in range(2):
            sock.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            received = sock.recv(1000)
            while not received.endswith(b"/slow"):
                part = sock.recv(1000)
                assert part, received
                received += part


def test_an_idle_connection_is_closed_after_a_while(served):
    with closing(served.socket(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")) as sock:
        received = b""
        while part := sock.recv(1000):
            received += part
    assert received.startswith(b"HTTP/1.1 200 OK") and b"Connection: keep-alive" in received


def test_who_does_not_take_an_answer_is_cut_off(served):
    """More of them than there are threads."""
    greedy = [served.socket(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n") for _ in range(THREADS * 2)]
    assert served.get("/here") == b"/here"
    for sock in greedy:
        sock.close()


@pytest.mark.parametrize("head", [b"Content-Length: 5000\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\nff\r\nhalf"])
def test_what_follows_a_body_that_was_cut_off_is_no_request(served, head):
    with closing(served.socket(b"POST /body HTTP/1.1\r\nHost: a\r\n" + head)) as sock:
        time.sleep(0.45)  # it is late by now, and not answered yet
        sock.sendall(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        received = b""
        with suppress(ConnectionError):
            while part := sock.recv(1000):
                received += part
    assert received.endswith(b"late")
    assert received.count(b"HTTP/1.1") == 1


def test_a_body_that_ends_too_early_is_not_taken_for_a_whole_one(served):
    with closing(served.socket(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nstock=1")) as sock:
        sock.shutdown(socket.SHUT_WR)
        received = b""
        while part := sock.recv(1000):
            received += part
    assert received.endswith(b"short")


@pytest.mark.parametrize("path", ["/error", "/exit"])
def test_no_failure_takes_a_thread_away(served, path):
    for _ in range(THREADS * 2):
        with closing(served.socket(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode())) as sock:
            sock.recv(1000)
    assert served.get("/here") == b"/here"


def test_what_is_no_http_is_refused_and_harms_nobody(served):
    with closing(served.socket(b"\x16\x03\x01 hello\r\n\r\n")) as sock:
        assert sock.recv(1000).startswith(b"HTTP/1.1 400 ")
    assert served.get("/here") == b"/here"


def test_more_connections_than_it_takes_wait_for_their_turn():
    with serving(**{"worker-connections": 4, "keep-alive": 75}) as served:
        silent = [served.socket() for _ in range(4)]
        with closing(served.socket(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")) as sock:
            assert select.select([sock], [], [], 1.5)[0] == []
            silent.pop().close()
            assert sock.recv(1000).startswith(b"HTTP/1.1 200 OK")
        for each in silent:
            each.close()


def test_at_its_end_it_answers_what_is_under_way_and_what_is_just_being_sent():
    with serving(**{"keep-alive": 75}) as served:
        kept, slow = served.connection(), served.connection()
        kept.request("GET", "/")
        kept.getresponse().read()
        slow.request("GET", "/slow")
        assert served.process.stderr is not None
        while "begun" not in served.process.stderr.readline():
            pass
        served.process.send_signal(signal.SIGTERM)
        answer = slow.getresponse()
        assert answer.read() == b"/slow"
        kept.request("GET", "/late")
        answer = kept.getresponse()
        assert (answer.read(), answer.getheader("Connection")) == (b"/late", "close")
        assert served.process.wait(PATIENCE) == 0


def test_at_its_end_a_client_that_was_just_answered_may_ask_once_more():
    """However long its answer took."""
    with serving(**{"keep-alive": 75}) as served, closing(served.connection()) as connection:
        connection.request("GET", "/slower")
        assert served.process.stderr is not None
        while "begun" not in served.process.stderr.readline():
            pass
        served.process.send_signal(signal.SIGTERM)
        assert connection.getresponse().read() == b"/slower"
        time.sleep(0.3)
        connection.request("GET", "/late")
        answer = connection.getresponse()
        assert (answer.read(), answer.getheader("Connection")) == (b"/late", "close")


def test_a_quit_waits_for_nobody():
    with serving() as served:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: served.socket(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")).result()
        served.process.send_signal(signal.SIGQUIT)
        assert served.process.wait(PATIENCE) == 0
