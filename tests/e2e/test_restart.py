"""Processes are replaced and stopped without a lost request: `manage.py restart`, and the end that is announced."""

import contextlib
import itertools
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import IO

import psutil
import psycopg
import pytest
import requests

from platform_core import __version__
from platform_core.conf.environment import EXIT_CODE, ROOT, parsed
from platform_core.stack.capacity import connections_under_up
from platform_core.stack.processes import die_with_parent
from platform_core.stack.supervisor import health_of
from platform_core.topology import ANALYTICS, NOTIFICATION, ORDER, PRODUCT, SERVICES, USER, Service
from tests.e2e.scratch.copy import Copy
from tests.e2e.stack import TIMEOUT, Shop, Stack, eventually, own_folder, slow

PATHS = {
    USER: "/api/users",
    PRODUCT: "/api/products",
    ORDER: "/api/orders",
    NOTIFICATION: "/api/notifications/1",
    ANALYTICS: "/api/analytics/summary",
}


class Load:
    """Clients that read from one service or place orders, without a pause. ``failures`` has all that went wrong."""

    def __init__(self, stack: Stack, service: Service) -> None:
        self.stack, self.service = stack, service
        self.stopping = threading.Event()
        self.numbers = itertools.count()
        self.answered = 0
        self.failures: list[str] = []
        self.clients = [threading.Thread(target=self.run, args=(kept,)) for kept in (True, True, True, False)]

    def run(self, is_kept_alive: bool) -> None:
        """One client. Each request has a new connection, or all use one, which the server may close between two."""
        session = requests.Session()
        session.trust_env = False
        headers = {} if is_kept_alive else {"Connection": "close"}
        while not self.stopping.is_set():
            try:
                answer = self.send(session, headers)
                self.answered += 1
                if answer.status_code >= 400:
                    self.failures.append(f"{answer.status_code} {answer.text}")
            except requests.RequestException as error:
                self.failures.append(repr(error))

    def send(self, session: requests.Session, headers: dict[str, str]) -> requests.Response:
        return session.get(self.stack.direct(self.service, PATHS[self.service]), headers=headers, timeout=20)

    def __enter__(self) -> "Load":
        for client in self.clients:
            client.start()
        eventually("answers", lambda: self.answered > 20 or self.failures)
        return self

    def __exit__(self, *args: object) -> None:
        self.stopping.set()
        for client in self.clients:
            client.join(TIMEOUT)


class Orders(Load):
    """Clients that place orders, which take all services."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack, ORDER)
        shop = Shop(stack)
        self.user = shop.made(USER, "/api/users", name="Ann", email=f"ann{time.monotonic()}@example.com")["id"]
        self.product = shop.made(PRODUCT, "/api/products", name="Lamp", price=1, stock=1_000_000)["id"]

    def send(self, session: requests.Session, headers: dict[str, str]) -> requests.Response:
        body = {"userId": self.user, "productId": self.product, "quantity": 1}
        headers = {**headers, "Idempotency-Key": f"load-{self.user}-{next(self.numbers)}"}
        return session.post(self.stack.direct(ORDER, "/api/orders"), json=body, headers=headers, timeout=20)


def processes_of(stack: Stack, service: Service) -> dict[str, int]:
    """The process ids of a service's gunicorn and of its worker."""
    found = {"web": stack.webs(service)[0].pid}
    for worker in stack.workers():
        if " ".join(worker.cmdline()).startswith(service.name):
            found["worker"] = worker.pid
    return found


@pytest.mark.parametrize(
    "service", [ORDER, *(slow(each) for each in SERVICES if each is not ORDER)], ids=lambda service: service.stem
)
def test_no_request_fails_while_a_service_is_restarted(stack, service):
    before = processes_of(stack, service)
    with Load(stack, service) as load, Orders(stack) as orders:
        done = stack.run("restart", service.stem)
        served = load.answered, orders.answered
        eventually("more answers", lambda: load.answered > served[0] + 20 and orders.answered > served[1] + 5)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{service.name} runs in new processes.\n"
    assert (load.failures, orders.failures) == ([], [])
    after = processes_of(stack, service)
    assert set(after) == {"web", "worker"} if service.has_worker else {"web"}
    assert all(after[name] != before[name] for name in after)


def test_a_restart_loads_the_code_from_the_disk(template, folder):
    """`up` has imported the library at its start, so a fork of it would run the old code."""
    (folder / "copied").mkdir()
    project = Copy(folder / "copied").folder
    with own_folder() as place:
        stack = Stack(place, template, root=project)
        try:
            stack.up()
            library = project / "platform_core" / "__init__.py"
            library.write_text(library.read_text().replace(f'"{__version__}"', '"9.9.9"'))
            assert stack.run("restart", "user").returncode == 0
            found = {service: Shop(stack).get(service, "/health")["version"] for service in (USER, PRODUCT)}
        finally:
            stack.stop()
    assert found == {USER: "9.9.9", PRODUCT: __version__}


def test_a_restarted_web_that_is_killed_is_restarted(stack):
    assert stack.run("restart", "user").returncode == 0
    killed = stack.webs(USER)
    killed[0].kill()
    eventually("it is gone", lambda: not killed[0].is_running() or killed[0].status() == "zombie")
    eventually("it answers again", lambda: health_of(stack.url(USER), "/health/ready")[0] == 200, TIMEOUT)
    assert stack.webs(USER)[0].pid != killed[0].pid


def is_refused(port: int) -> bool:
    """Whether nobody listens on the port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=20).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.nightly
def test_connections_are_refused_while_a_killed_web_is_down(own_stack):
    """A client that waited instead would hold a thread until its deadline."""
    own_stack.up()
    own_stack.webs(USER)[0].kill()
    eventually("refused", lambda: is_refused(own_stack.ports[USER.package]))
    eventually("it answers again", lambda: health_of(own_stack.url(USER), "/health/ready")[0] == 200, TIMEOUT)


@pytest.mark.nightly
def test_a_service_that_does_not_become_ready_keeps_its_present_processes(own_stack):
    own_stack.up()
    before, webs = processes_of(own_stack, USER), len(own_stack.webs(USER))
    with psycopg.connect(own_stack.database_url(), autocommit=True) as connection:
        connection.execute("DELETE FROM user_svc.django_migrations WHERE app = 'user_svc'")
    with Load(own_stack, USER) as load:
        done = own_stack.run("restart", "user")
    assert done.returncode == 1
    assert "not ready" in done.stderr and "migrations: down" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert load.failures == []
    assert processes_of(own_stack, USER) == before
    eventually("the new ones are gone", lambda: len(own_stack.webs(USER)) == webs)


def test_a_restart_without_a_platform_and_of_an_unknown_service_says_so(stack, own_stack):
    nothing = own_stack.run("restart", "order")
    assert nothing.returncode == 1
    assert "No `manage.py up` runs" in nothing.stderr
    assert len(nothing.stderr.strip().splitlines()) == 1
    unknown = stack.run("restart", "billing")
    assert unknown.returncode == 2
    assert "expected some of user, product, order" in unknown.stderr


@pytest.mark.nightly
def test_an_up_that_does_not_react_is_named(own_stack):
    own_stack.up()
    assert own_stack.process is not None
    own_stack.process.send_signal(signal.SIGSTOP)
    try:
        done = own_stack.run("restart", "order")
    finally:
        own_stack.process.send_signal(signal.SIGCONT)
    assert done.returncode == 1
    assert f"process {own_stack.process.pid}" in done.stderr and "has not taken" in done.stderr


# The announced end.


def is_leaving(url: str) -> bool:
    status, body = health_of(url, "/health/ready")
    return status == 503 and b'"leaving": {"status": "down"}' in body


@pytest.mark.nightly
def test_up_announces_its_end_and_still_answers(own_stack):
    own_stack.up(DRAIN_SECONDS="4")
    with Load(own_stack, USER) as load:
        assert own_stack.process is not None
        own_stack.process.send_signal(signal.SIGTERM)
        eventually("it is leaving", lambda: is_leaving(own_stack.url(USER)))
        answered = load.answered
        eventually("it still answers", lambda: load.answered > answered + 20)
        assert health_of(own_stack.url(USER), "/health")[0] == 200
        load.stopping.set()
        assert load.failures == []
    assert own_stack.process.wait(TIMEOUT) == 0


@pytest.mark.nightly
def test_a_second_signal_ends_the_wait_and_cuts_no_request_off(own_stack):
    own_stack.up(DRAIN_SECONDS="300")
    assert own_stack.process is not None
    own_stack.process.send_signal(signal.SIGTERM)
    eventually("it is leaving", lambda: is_leaving(own_stack.url(USER)))
    time.sleep(1.2)  # a signal within a second counts as the same one
    own_stack.process.send_signal(signal.SIGTERM)
    assert own_stack.process.wait(TIMEOUT) == 0


@contextlib.contextmanager
def container(
    stack: Stack, service: Service, output: IO[bytes] | None = None, **variables: str
) -> Iterator[subprocess.Popen[bytes]]:
    """The process of the image, for a service of a migrated platform, on the service's port."""
    environment = {
        **stack.environment,
        "DJANGO_SETTINGS_MODULE": service.settings_module,
        "DATABASE_URL": stack.database_url(),
        "PORT": str(stack.ports[service.package]),
        **variables,
    }
    command = [sys.executable, "-m", "platform_core.stack.web"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, preexec_fn=die_with_parent)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def elsewhere(stack: Stack) -> Stack:
    """Other ports, on the database of the shared platform."""
    return Stack(stack.folder)


def test_the_image_announces_its_end_and_still_answers(elsewhere):
    url = elsewhere.url(USER)
    with container(elsewhere, USER, DRAIN_SECONDS="4") as process:
        eventually("it is ready", lambda: health_of(url, "/health/ready")[0] == 200, TIMEOUT)
        with Load(elsewhere, USER) as load:
            process.send_signal(signal.SIGTERM)
            eventually("it is leaving", lambda: is_leaving(url))
            worker = psutil.Process(process.pid).children()[0].children()[0]
            worker.kill()  # its successor is leaving, too
            answered = load.answered
            eventually("it still answers", lambda: load.answered > answered + 20)
            load.stopping.set()
        cut_off = ("ConnectionError", "ChunkedEncodingError")  # what the killed worker had in hand
        assert [failure for failure in load.failures if not failure.startswith(cut_off)] == []
        assert process.poll() is None
        assert process.wait(TIMEOUT) == 0


def test_a_second_signal_ends_the_wait_of_the_image(elsewhere):
    with container(elsewhere, USER, DRAIN_SECONDS="300") as process:
        eventually("it is ready", lambda: health_of(elsewhere.url(USER), "/health/ready")[0] == 200, TIMEOUT)
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            eventually("it has noticed", lambda: is_leaving(elsewhere.url(USER)) or process.poll() is not None)
        assert process.wait(TIMEOUT) == 0


def test_the_image_ends_with_the_exit_code_of_its_web(elsewhere):
    with container(elsewhere, USER, WEB_THREADS="many") as process:
        assert process.wait(TIMEOUT) == EXIT_CODE
    with container(elsewhere, USER) as process:
        eventually("it is ready", lambda: health_of(elsewhere.url(USER), "/health/ready")[0] == 200, TIMEOUT)
        psutil.Process(process.pid).children()[0].kill()
        assert process.wait(TIMEOUT) == 128 + signal.SIGKILL


# Killed with a process that is stopped.


@pytest.mark.nightly
@pytest.mark.parametrize("which", [pytest.param(0, id="master"), slow(1, id="its worker")])
def test_a_killed_up_with_a_stopped_web_has_a_successor(own_stack, which):
    own_stack.up()
    stopped = own_stack.webs(ORDER)[which]
    stopped.send_signal(signal.SIGSTOP)
    own_stack.end(signal.SIGKILL)
    own_stack.up()
    assert health_of(own_stack.url(ORDER), "/health/ready")[0] == 200
    assert not stopped.is_running() or stopped.status() == "zombie"


# Connections.


@pytest.mark.nightly
def test_a_server_with_too_few_connections_is_refused_in_one_line(own_stack):
    many = {"WEB_CONCURRENCY": "8", "WEB_THREADS": "8"}
    done = own_stack.run("up", **many)
    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if not line.startswith("·")]
    needed = f"up to {connections_under_up(parsed(many))}"
    for part in ("allows 197 connections", needed, "max_connections", "WEB_CONCURRENCY (8)", "WEB_THREADS (8)"):
        assert part in line
    eventually("nothing runs", lambda: not own_stack.processes())
    migrated = own_stack.run("migrate", **many)
    assert migrated.returncode == 0, migrated.stderr
    assert migrated.stderr.startswith("Warning: ") and "allows 197 connections" in migrated.stderr


def test_a_web_alone_warns_that_connections_are_short(elsewhere, tmp_path):
    elsewhere.is_pooled = False  # behind a pooler they never are
    log = tmp_path / "web.log"
    with log.open("wb") as output, container(elsewhere, USER, output, WEB_CONCURRENCY="4", WEB_THREADS="64"):
        eventually("the warning", lambda: "database.connections_short" in log.read_text(), TIMEOUT)
    with log.open("wb") as output, container(elsewhere, USER, output, DRAIN_SECONDS="0"):
        eventually("it is ready", lambda: health_of(elsewhere.url(USER), "/health/ready")[0] == 200, TIMEOUT)
        time.sleep(1)  # the thread that looks begins before the web serves
    assert "database.connections_short" not in log.read_text()


@pytest.mark.parametrize("service", [each for each in SERVICES if each.has_worker], ids=lambda service: service.stem)
def test_a_worker_needs_no_more_connections_than_are_counted(stack, service):
    count = (
        f"from {service.package}.tasks import DUTIES\nfrom platform_core.outbox import Lane\n"
        "print(len(DUTIES), sum(isinstance(getattr(duty.run, '__self__', None), Lane) for duty in DUTIES))"
    )
    done = stack.run(service.package, "shell", "--no-imports", "-c", count)
    duties, lanes = map(int, done.stdout.split())
    assert duties <= service.duties
    assert lanes == service.lanes
