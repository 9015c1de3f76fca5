"""``manage.py up``: starts Postgres, the webs and the workers, and supervises them until a signal stops them."""

import http.client
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import psycopg
from rich.console import Console
from rich.table import Table

from platform_core.auth.keys import KeysError
from platform_core.conf import production
from platform_core.conf.environment import ROOT, ConfigurationError, as_url, database_parts
from platform_core.db.bounds import long_waits
from platform_core.stack import postgres, running
from platform_core.stack.contents import has_data
from platform_core.stack.forks import Forked, fork, manage, preload, serve
from platform_core.stack.keys import make_keys
from platform_core.stack.migrated import code_fingerprint, is_migrated, note_migrated
from platform_core.stack.migration_lock import only_migration
from platform_core.stack.postgres import PostgresError
from platform_core.stack.processes import is_free
from platform_core.stack.roles import RolesError, ensure_roles
from platform_core.topology import ANALYTICS, SERVICES, Service

PORT_TIMEOUT_SECONDS = 10.0
START_TIMEOUT_SECONDS = 90.0
STOP_TIMEOUT_SECONDS = 40.0
EVERYWHERE = "0.0.0.0"  # noqa: S104  # compared with, not bound
SAME_SIGNAL_SECONDS = 1.0
MIGRATION_TIMEOUT_SECONDS = 3600.0
LONGEST_PAUSE = 30.0
SETTLED = 60.0
GUNICORN = str(ROOT / "deploy" / "gunicorn.conf.py")


class StackError(Exception):
    """The stack cannot start. The message is one line that says what to do."""


class _Ended(BaseException):
    """A signal has arrived: the run must end."""


@dataclass(slots=True)
class Child:
    """A process that is restarted when it ends, after a pause that doubles with each failure."""

    title: str
    start_process: Callable[[], Forked]
    process: Forked | None = None
    started: float = 0.0
    failures: int = 0
    due: float = 0.0

    def start(self) -> None:
        """Start the process."""
        self.started = time.monotonic()
        self.process = self.start_process()

    def revive(self) -> int | None:
        """Restart the process if it has ended and its pause is over. Call it repeatedly.

        Returns the exit code once, when it finds that the process has ended.
        """
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return None
            self.process = None
            lived = time.monotonic() - self.started
            self.failures = 1 if lived > SETTLED else self.failures + 1
            self.due = time.monotonic() + min(LONGEST_PAUSE, 0.25 * 2**self.failures)
            return code
        if time.monotonic() >= self.due:
            self.start()
        return None

    def send(self, number: int) -> None:
        """Send a signal, if the process runs."""
        if self.process is not None:
            self.process.send(number)

    def wait(self, until: float) -> bool:
        """Wait until the moment ``until`` (of ``time.monotonic()``). True if the process has ended."""
        return self.process is None or self.process.wait(max(0.05, until - time.monotonic()))


@dataclass(slots=True)
class Stack:
    """The local platform. ``values`` are the parsed variables, ``environ`` those of this process.

    ``shown`` are the services whose log lines are all printed. Of the others, only warnings and errors are.
    """

    values: Mapping[str, Any]
    environ: Mapping[str, str]
    shown: Collection[Service] = SERVICES
    console: Console = field(default_factory=lambda: Console(stderr=True, soft_wrap=True))
    server: postgres.EmbeddedPostgres | None = None
    lock: IO[str] | None = None
    ending: float = 0.0
    is_stopping: bool = False
    webs: list[Child] = field(default_factory=list)
    workers: list[Child] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """The data folder."""
        return Path(self.values["PLATFORM_DATA"]).resolve()

    def run(self) -> int:
        """Start everything and supervise it. Returns the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.on_signal)
        try:
            self.lock = self.only_one()
            self.start()
            self.watch()
        except (StackError, PostgresError, RolesError, KeysError) as error:
            self.console.print(f"[red]✗[/] {error}", highlight=False)
            return 1
        except _Ended:
            self.console.print("Stopping …")
            return 0
        finally:
            self.stop()
        return 0

    def on_signal(self, number: int, frame: object) -> None:
        """Handle the first signal: end the run by raising _Ended. Later signals go to `on_later_signal`."""
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, self.on_later_signal)
        self.ending = time.monotonic()
        raise _Ended

    def on_later_signal(self, number: int, frame: object) -> None:
        """Handle a further signal. While stopping, it kills the children instead of waiting for requests in flight.

        Before `stop` has begun, it raises _Ended again. Within SAME_SIGNAL_SECONDS of the first signal it is ignored,
        because make, shells and service managers may send the same signal twice.
        """
        if time.monotonic() - self.ending < SAME_SIGNAL_SECONDS:
            return
        if not self.is_stopping:
            raise _Ended
        for child in [*self.webs, *self.workers]:
            child.send(signal.SIGKILL)

    def go_on(self) -> None:
        """Raises _Ended if a signal has arrived. Python may have dropped the first one, for example in a finalizer."""
        if self.ending:
            raise _Ended

    def only_one(self) -> IO[str]:
        """Take the folder's lock, which this process holds until it ends. Raises StackError if another `up` runs."""
        try:
            lock = running.claim(self.folder)
        except OSError as error:
            raise StackError(
                f"The data folder {self.folder} cannot be used: {error.strerror}. Set PLATFORM_DATA to another one."
            ) from None
        if lock is None:
            pid = running.pid(self.folder)
            raise StackError(
                f"The platform already runs from {self.folder} (process {pid}). Use it, or stop it with "
                f"`kill {pid}`. To run a second platform, set PLATFORM_DATA and the *_SERVICE_URL variables."
            )
        return lock

    def start(self) -> None:
        """Start Postgres, create roles and keys, migrate, start webs and workers, and wait until all webs are ready.

        Raises StackError, PostgresError, RolesError, KeysError, ConfigurationError.
        """
        began = time.monotonic()
        self.check_ports()
        running.publish(self.folder, self.values)
        preload()
        if self.values["PLATFORM_ENV"] == "production":
            refuse_unsafe(self.values, self.environ, not_theirs=self.locks())
        else:
            make_keys(self.values)
        if not self.values["DATABASE_URL"]:
            self.step("Postgres")
            self.server = postgres.acquire(self.folder)
            self.values = {**self.values, "DATABASE_URL": self.server.url}
        self.step("roles and migrations")
        with only_migration(self.values):
            ensure_roles(self.values)
            migrate_all(self.values, self.environ, not_theirs=self.locks(), unless_current=True)
        self.step("services")
        metrics = self.folder / "metrics"
        shutil.rmtree(metrics, ignore_errors=True)
        self.webs = [self.web(service) for service in SERVICES]
        self.workers = [self.worker(service) for service in SERVICES if service.has_worker]
        for child in [*self.webs, *self.workers]:
            child.start()
        self.await_ready()
        self.show(time.monotonic() - began)

    def step(self, what: str) -> None:
        """Print the name of the step that begins. Raises _Ended if a signal has arrived."""
        self.go_on()
        self.console.print(f"[dim]· {what}[/]")

    def check_ports(self) -> None:
        """Wait until the ports are free. A killed predecessor may hold one until its last requests have ended.

        Raises StackError if a port is still in use after PORT_TIMEOUT_SECONDS.
        """
        until = time.monotonic() + PORT_TIMEOUT_SECONDS
        for service in SERVICES:
            port = port_of(service, self.values)
            while not is_free(self.values["BIND_HOST"], port):
                if time.monotonic() > until:
                    raise StackError(
                        f"Port {port} of {service.name} is in use by another program. Stop that program, or set "
                        f"{service.url_variable}=http://127.0.0.1:PORT with a free port."
                    )
                time.sleep(0.1)

    def web(self, service: Service) -> Child:
        """The web process of a service, not started yet."""
        port = str(port_of(service, self.values))
        return self.child(service, service.name, lambda: serve(GUNICORN), PORT=port)

    def worker(self, service: Service) -> Child:
        """The worker process of a service, not started yet."""
        return self.child(service, f"{service.name} worker", lambda: manage("worker"), WORKER_METRICS_PORT="")

    def child(self, service: Service, title: str, main: Callable[[], None], **variables: str) -> Child:
        """A process of a service that calls ``main``, not started yet. ``variables`` are added to its environment."""
        environment = {**service_environment(service, self.values, self.environ), **self.logs(service), **variables}
        metrics = self.folder / "metrics" / service.package
        metrics.mkdir(parents=True, exist_ok=True)
        environment |= {"PROMETHEUS_MULTIPROC_DIR": str(metrics), production.ANNOUNCED: "yes"}
        return Child(title, lambda: fork(title, main, environment, not_theirs=self.locks()))

    def logs(self, service: Service) -> dict[str, str]:
        """LOG_FORMAT and LOG_LEVEL for a service. The default format is text on a terminal, otherwise JSON."""
        is_chatty = self.values["LOG_LEVEL"] in ("debug", "info")
        return {
            "LOG_FORMAT": self.values["LOG_FORMAT"] or ("text" if sys.stdout.isatty() else "json"),
            "LOG_LEVEL": "warn" if service not in self.shown and is_chatty else self.values["LOG_LEVEL"],
        }

    def locks(self) -> tuple[IO[str], ...]:
        """Locks that only this process may hold: a child that outlives it must not keep them."""
        lease = self.server.lease if self.server else None
        return tuple(lock for lock in (self.lock, lease) if lock is not None)

    def await_ready(self) -> None:
        """Wait until all webs are ready. Raises StackError."""
        until = time.monotonic() + START_TIMEOUT_SECONDS
        for service, child in zip(SERVICES, self.webs, strict=True):
            while not answers_ready(local_url(service, self.values)):
                code = child.process.poll() if child.process else None
                if code is not None:
                    raise StackError(f"{service.name} ended with code {code} while starting. Its log lines say why.")
                if time.monotonic() > until:
                    raise StackError(
                        f"{service.name} is not ready after {START_TIMEOUT_SECONDS:g} s. Its log lines say why."
                    )
                self.go_on()
                time.sleep(0.05)

    def show(self, seconds: float) -> None:
        """Print the table of URLs and the next steps. ``seconds`` is the duration of the start."""
        python = _shown_python()
        table = Table(title=f"Ready in {seconds:.1f} s", title_justify="left")
        for column in ("service", "URL", "state"):
            table.add_column(column, no_wrap=True)
        for service in SERVICES:
            table.add_row(service.name, local_url(service, self.values), "[green]ready[/]")
        self.console.print(table)
        self.console.print("On each: /api/, /api/docs, /admin/, /health. Ctrl-C stops everything.")
        is_development = self.values["PLATFORM_ENV"] == "development"
        if is_development:
            self.console.print("[yellow]Development mode: everybody who can reach the services may do everything.[/]")
        self.console.print(f"Dashboard: {local_url(ANALYTICS, self.values)}/", highlight=False)
        if is_development and not has_data(self.values):
            self.console.print(f"No data yet: `{python} manage.py demo` makes some.", highlight=False)
        self.console.print(f"Staff account: `{python} manage.py user_svc make_staff you@example.com`", highlight=False)

    def watch(self) -> None:
        """Restart processes that end, until a signal arrives. Raises _Ended."""
        while True:
            for child in [*self.webs, *self.workers]:
                code = child.revive()
                if code is not None:
                    self.console.print(f"[yellow]{child.title} ended with code {code} and will be restarted.[/]")
            if self.server is not None:
                self.server.ensure()
            self.go_on()
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop the webs, then the workers, which still deliver messages of the webs, then Postgres."""
        self.is_stopping = True
        for group in (self.webs, self.workers):
            for child in group:
                child.send(signal.SIGTERM)
            until = time.monotonic() + STOP_TIMEOUT_SECONDS
            for child in group:
                if not child.wait(until):
                    child.send(signal.SIGKILL)
                    child.wait(until + 5)
        if self.server is not None:
            self.server.release()
            postgres.await_stopped(self.folder)
            self.server = None
        if self.lock is not None:
            running.withdraw(self.folder)


def _shown_python() -> str:
    """The path of this Python, as a user would type it in the project's folder."""
    python = Path(sys.executable)
    return shlex.quote(str(python.relative_to(ROOT) if python.is_relative_to(ROOT) else python))


def port_of(service: Service, values: Mapping[str, Any]) -> int:
    """The port on which the service listens under `up`."""
    own = values[service.listen_port_variable] or urlsplit(values[service.url_variable]).port
    return int(own or service.port)


def local_url(service: Service, values: Mapping[str, Any]) -> str:
    """The URL of a service on this machine."""
    host = values["BIND_HOST"]
    return f"http://{'127.0.0.1' if host == EVERYWHERE else host}:{port_of(service, values)}"


def service_environment(service: Service, values: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a service's process. It contains the URL of its own database only."""
    databases = {"DATABASE_URL", *(each.database_url_variable for each in SERVICES)}
    parts = database_parts(service, values) or {}
    return {
        # gunicorn reads some of these variables itself, and an empty one would be a value for it.
        **{name: value for name, value in environ.items() if value and name.removesuffix("_FILE") not in databases},
        "DJANGO_SETTINGS_MODULE": service.settings_module,
        "DATABASE_URL": as_url(parts) if parts else "",
    }


def migrate_all(
    values: Mapping[str, Any],
    environ: Mapping[str, str],
    *,
    not_theirs: tuple[IO[str], ...] = (),
    unless_current: bool = False,
) -> None:
    """Migrate the schemas of all services at the same time. Raises StackError with the reason of a failure.

    ``unless_current`` leaves out those that this same code has migrated already (see `migrated`).
    """
    code = code_fingerprint()
    due = [service for service in SERVICES if not (unless_current and is_migrated(service, values, code))]
    with ExitStack() as files:
        running = []
        for service in due:
            output = files.enter_context(tempfile.TemporaryFile())
            environment = service_environment(service, values, environ)
            title = f"{service.name} migrate"
            process = fork(title, _migrate, environment, output=output, not_theirs=not_theirs)
            running.append((service, process, output))
        for service, process, output in running:
            if not process.wait(MIGRATION_TIMEOUT_SECONDS) or process.returncode:
                process.send(signal.SIGKILL)
                output.seek(0)
                raise StackError(f"The migration of {service.name} failed: {_reason(output.read())}")
    for service in due:
        with suppress(psycopg.Error):  # then the next start migrates again
            note_migrated(service, values, code)


def _reason(output: bytes) -> str:
    """The last line that is neither indented nor an addition of Postgres, such as `LINE 1: …` or `HINT: …`."""
    lines = reversed(output.decode(errors="replace").splitlines())
    return next((line for line in lines if line[:1].strip() and not line.startswith(_ADDITIONS)), "no reason given")


_ADDITIONS = ("LINE ", "HINT: ", "DETAIL: ", "CONTEXT: ")


def refuse_unsafe(
    values: Mapping[str, Any], environ: Mapping[str, str], *, not_theirs: tuple[IO[str], ...] = ()
) -> None:
    """Run the checks of production for each service, with its own settings. Raises ConfigurationError."""
    reasons: dict[str, None] = {}
    for service in SERVICES:
        with tempfile.TemporaryFile() as output:
            environment = service_environment(service, values, environ)
            process = fork(f"{service.name} check", _check, environment, output=output, not_theirs=not_theirs)
            process.wait(START_TIMEOUT_SECONDS)
            output.seek(0)
            reasons |= dict.fromkeys(output.read().decode(errors="replace").splitlines())
    if reasons:
        raise ConfigurationError(list(reasons))


def _check() -> None:
    from django.conf import settings

    try:
        production.check(settings)
    except ConfigurationError as error:
        print(*error.problems, sep="\n")


def _migrate() -> None:
    """Migrate one schema. A statement may take `MIGRATION_TIMEOUT_SECONDS`, but waits for a lock no longer than 4 s.

    Requests queue behind a migration that waits for a lock, and they have 5 s.
    """
    import django
    from django.db import connection

    django.setup()
    with long_waits(MIGRATION_TIMEOUT_SECONDS):
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 0")
            cursor.execute("SET lock_timeout = '4s'")
        manage("migrate", "--no-input", "--verbosity", "0")


def answers_ready(url: str) -> bool:
    """Whether the service at ``url`` is ready."""
    return health_of(url, "/health/ready")[0] == 200


def health_of(url: str, path: str) -> tuple[int, bytes]:
    """Status and body of a health endpoint. The status is 0 if there is no answer."""
    parts = urlsplit(url)
    make: Callable[..., http.client.HTTPConnection] = (
        http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    )
    connection = make(parts.hostname, parts.port, timeout=3)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()
