"""gunicorn with our configuration: kept connections, late bodies, stops and reloads without lost requests."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection

import psutil
import pytest

from platform_core.conf.environment import ROOT
from platform_core.stack.processes import die_with_parent
from tests.ports import free_ports
from tests.wire import until

THREADS = 2
KEEPALIVE = 1
TIMEOUT = 20


class Served:
    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port

    def connection(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)

    def socket(self, sent: bytes = b"") -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), TIMEOUT)
        sock.sendall(sent)
        return sock

    def exchange(self, *sent: bytes, pause: float = 0) -> bytes:
        """Sends the parts with pauses. Returns everything that the server sends until it closes."""
        received = b""
        with closing(self.socket()) as sock, suppress(ConnectionError):
            for part in sent:
                sock.sendall(part)
                time.sleep(pause)
            while part := sock.recv(1000):
                received += part
        return received

    def wait_for_slow(self) -> None:
        """Waits until the application has started a slow request."""
        assert self.process.stderr is not None
        while "begun" not in self.process.stderr.readline():
            pass

    def get(self, path: str = "/") -> bytes:
        with closing(self.connection()) as connection:
            connection.request("GET", path)
            return connection.getresponse().read()

    def workers(self) -> set[int]:
        return {child.pid for child in psutil.Process(self.process.pid).children()}

    def is_up(self) -> bool:
        try:
            return self.get() == b"/"
        except OSError:
            return False


@contextmanager
def serving(**options: object) -> Iterator[Served]:
    (port,) = free_ports(1)
    given = {"bind": f"127.0.0.1:{port}", "workers": 1, "threads": THREADS, "keep-alive": KEEPALIVE, **options}
    command = [sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--no-control-socket"]
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


def test_connections_between_two_requests_hold_no_thread(served):
    kept = [served.connection() for _ in range(THREADS * 5)]
    for turn in range(3):
        for number, connection in enumerate(kept):
            connection.request("GET", f"/{turn}-{number}")
            assert connection.getresponse().read() == f"/{turn}-{number}".encode()
    assert served.get("/here") == b"/here"
    for connection in kept:
        connection.close()


def test_an_idle_connection_is_closed_after_a_while(served):
    received = served.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 200 OK") and b"Connection: keep-alive" in received


POST = b"POST /body HTTP/1.1\r\nHost: a\r\n"
HALVES = {
    "of a known length": POST + b"Content-Length: 5000\r\n\r\nhalf",
    "in chunks": POST + b"Transfer-Encoding: chunked\r\n\r\nff\r\nhalf",
}


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
def test_bytes_after_half_a_body_are_not_a_request(served, half):
    """The body times out after 0.3 s and is answered after 0.6 s. The rest arrives in between."""
    received = served.exchange(half, b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", pause=0.45)
    assert received.endswith(b"late")
    assert received.count(b"HTTP/1.1") == 1


def test_half_a_body_is_no_error_in_the_log():
    with serving() as served:
        assert served.exchange(HALVES["of a known length"]).endswith(b"late")
        served.process.send_signal(signal.SIGTERM)
        _, log = served.process.communicate(timeout=TIMEOUT)
    assert "Booting worker" in log
    assert "ERROR" not in log and "Traceback" not in log


def test_a_body_that_ends_too_early_is_not_taken_for_a_whole_one(served):
    with closing(served.socket(POST + b"Content-Length: 9\r\n\r\nstock=1")) as sock:
        sock.shutdown(socket.SHUT_WR)
        received = b""
        while part := sock.recv(1000):
            received += part
    assert received.endswith(b"short")


def test_a_body_that_came_in_time_leaves_the_connection_usable(served):
    with closing(served.connection()) as connection:
        for body in (b"first", b"second"):
            connection.request("POST", "/body", body)
            assert connection.getresponse().read() == body
            time.sleep(0.5)  # its deadline has passed


def test_a_stopping_server_answers_running_and_arriving_requests():
    with serving(**{"keep-alive": 75}) as served:
        kept, slow = served.connection(), served.connection()
        kept.request("GET", "/")
        kept.getresponse().read()
        slow.request("GET", "/slow")
        served.wait_for_slow()
        served.process.send_signal(signal.SIGTERM)
        answer = slow.getresponse()
        assert answer.read() == b"/slow"
        kept.request("GET", "/late")
        answer = kept.getresponse()
        assert (answer.read(), answer.getheader("Connection")) == (b"/late", "close")
        assert served.process.wait(TIMEOUT) == 0


def test_a_stopping_server_answers_one_more_request_of_a_kept_connection():
    """The duration of the response does not matter."""
    with serving(**{"keep-alive": 75}) as served, closing(served.connection()) as connection:
        connection.request("GET", "/slower")
        served.wait_for_slow()
        served.process.send_signal(signal.SIGTERM)
        assert connection.getresponse().read() == b"/slower"
        time.sleep(0.3)
        connection.request("GET", "/late")
        answer = connection.getresponse()
        assert (answer.read(), answer.getheader("Connection")) == (b"/late", "close")


def test_a_reload_loses_no_request():
    """Workers are replaced while clients send one request after the other."""
    with serving(workers=2, **{"keep-alive": 75}) as served, ThreadPoolExecutor(4) as pool:
        is_over = threading.Event()

        def client(number: int) -> int:
            turn = 0
            connection = served.connection()
            while not is_over.is_set():
                connection.request("GET", f"/{number}-{turn}")
                assert connection.getresponse().read() == f"/{number}-{turn}".encode()
                turn += 1
            connection.close()
            return turn

        clients = [pool.submit(client, number) for number in range(4)]
        first = served.workers()
        served.process.send_signal(signal.SIGHUP)
        try:
            until(lambda: len(served.workers()) == 2 and not served.workers() & first)
        finally:
            is_over.set()
        assert all(each.result() > 0 for each in clients)
