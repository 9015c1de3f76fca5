"""A running platform of the tests' own: `manage.py up` on free ports, with a temporary data folder."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from platform_core.conf.environment import ROOT
from platform_core.stack import postgres
from platform_core.stack.guardian import socket_folder
from platform_core.stack.processes import die_with_parent
from platform_core.topology import ORDER, PRODUCT, SERVICES, USER, Service
from tests.pooler import SWITCH, Pooler
from tests.ports import free_ports
from tests.suites import plain_environment

TIMEOUT = 90.0


def eventually(what: str, condition: Callable[[], Any], timeout: float = 30.0) -> Any:
    """Waits until the condition is true and returns its value. Fails with ``what`` after the time limit."""
    until = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < until, f"not in {timeout:g} s: {what}"
        time.sleep(0.05)


slow = partial(pytest.param, marks=pytest.mark.nightly)
"""Parameters of a test that are tried with --all only, because one of their kind is enough."""


class Stack:
    """One data folder and one set of ports; `up` may be started from it again and again.

    ``is_pooled``: whether the services reach Postgres through a pooler. Without it the run of the tests decides.
    ``template``: a migrated data folder. `prepare` and `up` copy it if there is no data yet, which saves seconds.
    """

    def __init__(
        self,
        folder: Path,
        template: Path | None = None,
        *,
        root: Path = ROOT,
        services: Sequence[Service] = SERVICES,
        is_pooled: bool | None = None,
    ) -> None:
        self.folder, self.template, self.root, self.services = folder, template, root, services
        self.ports = dict(zip((service.package for service in services), free_ports(len(services)), strict=True))
        self.is_pooled = SWITCH in os.environ if is_pooled is None else is_pooled
        self.pooler: Pooler | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.options: tuple[str, ...] = ()
        self.output = folder / "up.out"
        self.seen: set[psutil.Process] = set()

    @property
    def environment(self) -> dict[str, str]:
        urls = {service.url_variable: self.url(service) for service in self.services}
        own = {**urls, "PLATFORM_DATA": str(self.folder / "data"), "COLUMNS": "200"}
        return {**plain_environment(), **own, **(self.pooling().variables() if self.is_pooled else {})}

    def pooling(self) -> Pooler:
        """The pooler in front of the embedded Postgres. It is started if it does not run."""
        if self.pooler is None or self.pooler.process.poll() is not None:
            (port,) = [self.pooler.port] if self.pooler else free_ports(1)
            self.pooler = Pooler(self.folder, port, str(socket_folder(self.folder / "data")))
        return self.pooler

    def with_variables(self, variables: Mapping[str, str]) -> dict[str, str]:
        """The environment with further variables. If they name a database or a data folder, it has no pooler."""
        named = [name for name in variables if name.endswith("DATABASE_URL") or name == "PLATFORM_DATA"]
        pooled = self.pooling().variables() if self.is_pooled and named else {}
        kept = {name: value for name, value in self.environment.items() if name not in pooled}
        return {**kept, **variables}

    def url(self, service: Service, path: str = "") -> str:
        """The URL at which peers reach the service."""
        return f"http://127.0.0.1:{self.ports[service.package]}{path}"

    def direct(self, service: Service, path: str = "") -> str:
        """The URL at which the service listens."""
        return self.url(service, path)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(self.root / "manage.py"), *arguments]

    def prepare(self) -> "Stack":
        """Copy the template, unless there is data."""
        if self.template is not None and not (self.folder / "data").exists():
            copy_data(self.template, self.folder / "data")
        return self

    def launch(self, **variables: str) -> subprocess.Popen[bytes]:
        """Start `up` without waiting for it."""
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                self.command("up", *self.options),
                cwd=self.root,
                env=self.with_variables(variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,
            )
        self.seen.add(psutil.Process(self.process.pid))
        return self.process

    def up(self, **variables: str) -> "Stack":
        """Start `up` and wait for its table."""
        process = self.prepare().launch(**variables)
        eventually(
            f"ready; it said:\n{self.said()}", lambda: "Ready in" in self.said() or process.poll() is not None, TIMEOUT
        )
        assert process.poll() is None, self.said()
        return self

    def run(self, *arguments: str, timeout: float = TIMEOUT, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs a `manage.py` command until it ends."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.root,
            env=self.with_variables(variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            preexec_fn=die_with_parent,
        )

    def said(self) -> str:
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def end(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal to `up`, waits, and returns its exit code."""
        assert self.process is not None
        self.processes()
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.end()
        self.await_end(TIMEOUT)
        if self.pooler is not None:
            self.pooler.stop()

    def await_end(self, patience: float = 30.0) -> None:
        """Wait until no process of this platform is left."""
        eventually("nothing runs any more", lambda: not self.processes(), patience)

    def processes(self) -> list[psutil.Process]:
        """All processes of this platform: descendants of its `up`, even of a dead one, and its Postgres."""
        children: dict[int, list[psutil.Process]] = defaultdict(list)
        for process in psutil.process_iter(["cmdline", "ppid"]):
            children[process.info["ppid"]].append(process)
            if str(self.folder / "data") in " ".join(process.info["cmdline"] or ()):
                self.seen.add(process)
        generation = [process for process in self.seen if process.is_running()]
        while generation:
            generation = [child for process in generation for child in children[process.pid]]
            self.seen.update(generation)
        return [process for process in self.seen if _runs(process)]

    def webs(self, service: Service) -> list[psutil.Process]:
        """A service's gunicorn: the master first, then its workers."""
        titles = {process: _title(process) for process in self.processes()}
        ours = [process for process, title in titles.items() if title.endswith(f"[{service.name}]")]
        return sorted(ours, key=lambda process: ("master" not in titles[process], process.pid))

    def workers(self) -> list[psutil.Process]:
        """The background workers of the services."""
        return [process for process in self.processes() if _title(process).endswith("-service worker")]

    def database_url(self) -> str:
        """The URL for a superuser connection, to take locks and read tables."""
        return postgres.url(self.folder / "data")


@contextlib.contextmanager
def own_folder() -> Iterator[Path]:
    """A temporary folder with access for all: as root, the embedded Postgres runs as another user."""
    with tempfile.TemporaryDirectory(prefix="platform-e2e-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def copy_data(template: Path, data: Path) -> None:
    """Copy a data folder in which nothing runs, with its owners, since as root the server runs as another user."""
    subprocess.run(["cp", "-a", str(template), str(data)], check=True)


@contextlib.contextmanager
def migrated_server(template: Path) -> Iterator[str]:
    """An embedded Postgres on a copy of the template; yields the URL, which `DATABASE_URL` may name."""
    with own_folder() as folder:
        copy_data(template, folder / "data")
        server = postgres.acquire(folder / "data")
        try:
            yield server.url
        finally:
            server.release()
            postgres.await_stopped(folder / "data")


@contextlib.contextmanager
def temporary_stack(template: Path | None = None, *, is_pooled: bool | None = None) -> Iterator[Stack]:
    """A platform that is not started yet. It is stopped at the end."""
    with own_folder() as folder:
        stack = Stack(folder, template, is_pooled=is_pooled)
        try:
            yield stack
        finally:
            stack.stop()


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Shop:
    """A client of the five services: short methods for common actions."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.session = requests.Session()
        self.session.trust_env = False

    def ask(self, method: str, service: Service, path: str, **kwargs: Any) -> requests.Response:
        return self.session.request(method, self.stack.direct(service, path), timeout=40, **kwargs)

    def get(self, service: Service, path: str, **kwargs: Any) -> Any:
        response = self.ask("GET", service, path, **kwargs)
        assert response.status_code == 200, response.text
        return response.json()

    def made(self, service: Service, path: str, **body: Any) -> Any:
        response = self.ask("POST", service, path, json=body)
        assert response.status_code == 201, response.text
        return response.json()


def order_something(stack: Stack) -> str:
    """Makes a user, a product and an order; returns the id of the order."""
    shop = Shop(stack)
    user = shop.made(USER, "/api/users", name="Ann", email="ann@example.com")
    product = shop.made(PRODUCT, "/api/products", name="Lamp", price=1, stock=10)
    return str(shop.made(ORDER, "/api/orders", userId=user["id"], productId=product["id"], quantity=1)["id"])


def ports_in(text: str, ports: dict[str, int], services: Sequence[Service] = SERVICES) -> str:
    """A command of the docs, with the default ports replaced by the stack's."""
    for service in services:
        text = re.sub(rf"localhost:{service.port}\b", f"localhost:{ports[service.package]}", text)
    return text
