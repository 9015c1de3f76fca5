"""``manage.py up``: starts Postgres, the webs and the workers, and supervises them until a signal stops them."""

import http.client
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import psycopg
from rich.console import Console
from rich.table import Table

from platform_core.auth.keys import KeysError
from platform_core.auth.rules import rules_of
from platform_core.conf import production
from platform_core.conf.environment import (
    ROOT,
    ConfigurationError,
    as_url,
    database_parts,
    direct_parts,
    with_present_database,
)
from platform_core.db.bounds import long_waits
from platform_core.db.waiting import SESSION_OPTIONS, Pooled, is_from_pooler, with_options
from platform_core.observability import LIFECYCLE, Lifecycle
from platform_core.stack import postgres, restarts, running
from platform_core.stack.capacity import shortages
from platform_core.stack.contents import has_data
from platform_core.stack.forks import SOCKET, Forked, fork, load_anew, manage, preload, serve
from platform_core.stack.keys import make_keys
from platform_core.stack.migrated import code_fingerprint, is_migrated, note_migrated
from platform_core.stack.migration_lock import only_migration
from platform_core.stack.postgres import PostgresError
from platform_core.stack.processes import bound_socket
from platform_core.stack.restarts import RestartError
from platform_core.stack.roles import RolesError, ensure_limits, ensure_roles
from platform_core.topology import ANALYTICS, BY_PACKAGE, SERVICES, Service

PORT_TIMEOUT_SECONDS = 10.0
START_TIMEOUT_SECONDS = 90.0
STOP_TIMEOUT_SECONDS = 40.0
EVERYWHERE = "0.0.0.0"  # noqa: S104  # compared with, not bound
SAME_SIGNAL_SECONDS = 1.0
MIGRATION_TIMEOUT_SECONDS = 3600.0
LONGEST_PAUSE = 30.0
SETTLED = 60.0
TRIAL_SECONDS = 45.0
"""How long a restarted process may take until it is ready. It is shorter than gunicorn's timeout for a worker."""


class StackError(Exception):
    """The stack cannot start. The message is one line that says what to do."""


class _Ended(BaseException):
    """A signal has arrived: the run must end."""


@dataclass(slots=True)
class Child:
    """A process that is restarted when it ends, after a pause that doubles with each failure."""

    service: Service
    title: str
    lifecycle: Lifecycle
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
    is_ready: bool = False
    is_draining: bool = False
    webs: list[Child] = field(default_factory=list)
    workers: list[Child] = field(default_factory=list)
    passing: list[Child] = field(default_factory=list)
    """Processes of a restart: not ready yet, or replaced and about to end. They are not restarted when they end."""
    restarting: dict[Service, tuple[restarts.Request, Iterator[None]]] = field(default_factory=dict)
    listeners: dict[Service, socket.socket] = field(default_factory=dict)
    """The sockets of the webs. They stay open while a web is replaced, so that no connection is refused."""
    started: int = 0

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
        """Handle a further signal. It ends the wait of `drain`; after that, it kills the children.

        Before `stop` has begun, it raises _Ended again. Within SAME_SIGNAL_SECONDS of the first signal it is ignored,
        because make, shells and service managers may send the same signal twice.
        """
        if time.monotonic() - self.ending < SAME_SIGNAL_SECONDS:
            return
        if not self.is_stopping:
            raise _Ended
        if self.is_draining:
            self.is_draining = False
            self.ending = time.monotonic()
            return
        for child in [*self.webs, *self.workers, *self.passing]:
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
        self.take_ports()
        restarts.open_for_requests(self.folder)
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
            for warning in ensure_limits(self.values):
                self.console.print(f"Warning: {warning}", soft_wrap=True)
            for shortage in shortages(self.values):
                raise StackError(shortage)
            migrate_all(self.values, self.environ, not_theirs=self.locks(), unless_current=True)
        self.step("services")
        for name in ("metrics", "lifecycle"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        self.webs = [self.web(service) for service in SERVICES]
        self.workers = [self.worker(service) for service in SERVICES if service.has_worker]
        for child in [*self.webs, *self.workers]:
            child.start()
        self.await_ready()
        self.is_ready = True
        self.show(time.monotonic() - began)

    def step(self, what: str) -> None:
        """Print the name of the step that begins. Raises _Ended if a signal has arrived."""
        self.go_on()
        self.console.print(f"[dim]· {what}[/]")

    def take_ports(self) -> None:
        """Bind the webs' sockets. A killed predecessor may hold a port until its last process has ended.

        The sockets do not listen yet: until its web listens, a service refuses connections. Raises StackError if a port
        is still in use after PORT_TIMEOUT_SECONDS.
        """
        until = time.monotonic() + PORT_TIMEOUT_SECONDS
        for service in SERVICES:
            port = port_of(service, self.values)
            while (listener := bound_socket(self.values["BIND_HOST"], port)) is None:
                if time.monotonic() > until:
                    raise StackError(
                        f"Port {port} of {service.name} is in use by another program. Stop that program, or set "
                        f"{service.url_variable}=http://127.0.0.1:PORT with a free port."
                    )
                time.sleep(0.1)
            self.listeners[service] = listener

    def web(self, service: Service, *, is_anew: bool = False) -> Child:
        """The web process of a service, not started yet. ``is_anew``: it loads the code from the disk."""
        title, descriptor = service.name, self.listeners[service].fileno()
        main = partial(load_anew, title, "serve", descriptor=descriptor) if is_anew else serve
        return self.child(service, title, main, PORT=str(port_of(service, self.values)), **{SOCKET: str(descriptor)})

    def worker(self, service: Service, *, is_anew: bool = False) -> Child:
        """The worker process of a service, not started yet. ``is_anew``: it loads the code from the disk."""
        title = f"{service.name} worker"
        main = partial(load_anew, title, "manage", "worker") if is_anew else partial(manage, "worker")
        return self.child(service, title, main, WORKER_METRICS_PORT="")

    def child(self, service: Service, title: str, main: Callable[[], None], **variables: str) -> Child:
        """A process of a service that calls ``main``, not started yet. ``variables`` are added to its environment.

        Raises OSError.
        """
        environment = {**service_environment(service, self.values, self.environ), **self.logs(service), **variables}
        self.started += 1
        metrics = self.folder / "metrics" / service.package
        lifecycle = self.folder / "lifecycle" / f"{self.started}-{title.replace(' ', '-')}"
        for folder in (metrics, lifecycle):
            folder.mkdir(parents=True, exist_ok=True)
        environment |= {"PROMETHEUS_MULTIPROC_DIR": str(metrics), production.ANNOUNCED: "yes"}
        environment[LIFECYCLE] = str(lifecycle)
        foreign = [
            listener for owner, listener in self.listeners.items() if SOCKET not in variables or owner != service
        ]

        def start() -> Forked:
            return fork(title, main, environment, not_theirs=(*self.locks(), *foreign))

        return Child(service, title, Lifecycle(lifecycle), start)

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
        for service, path in development_pages() if is_development else ():
            name = path.strip("/").capitalize()
            self.console.print(f"{name}: {local_url(service, self.values)}{path}", highlight=False)
        if is_development and not has_data(self.values):
            self.console.print(f"No data yet: `{python} manage.py demo` makes some.", highlight=False)
        self.console.print(f"Staff account: `{python} manage.py user_svc make_staff you@example.com`", highlight=False)

    def watch(self) -> None:
        """Restart processes that end, and services as requested, until a signal arrives. Raises _Ended."""
        while True:
            for child in [*self.webs, *self.workers]:
                code = child.revive()
                if code is not None:
                    self.console.print(f"[yellow]{child.title} ended with code {code} and will be restarted.[/]")
                    self.refuse_connections(child)
            self.advance_restarts()
            if self.server is not None:
                self.server.ensure()
            self.go_on()
            time.sleep(0.2)

    def refuse_connections(self, child: Child) -> None:
        """Refuse connections until another process listens, if a web has ended and none replaces it at the moment.

        Otherwise clients would wait for as long as a web that cannot start is down.
        """
        if child in self.webs and child.service not in self.restarting:
            with suppress(OSError):  # it had not listened yet
                self.listeners[child.service].shutdown(socket.SHUT_RDWR)

    def advance_restarts(self) -> None:
        """Take requests to restart a service, continue those that were taken, and answer those that have ended."""
        for request in restarts.take(self.folder):
            self.begin_restart(request)
        for service, (request, steps) in list(self.restarting.items()):
            try:
                next(steps)
            except StopIteration:
                self.end_restart(service, request, f"{service.name} runs in new processes.", is_done=True)
            except (RestartError, OSError) as error:
                self.end_restart(service, request, str(error), is_done=False)

    def begin_restart(self, request: restarts.Request) -> None:
        """Start to replace the processes of a service, unless that is being done already."""
        service = BY_PACKAGE.get(request.package)
        if service is None:
            request.answer(f"This platform has no service {request.package!r}.", is_done=False)
        elif service in self.restarting:
            request.answer(f"{service.name} is being restarted already.", is_done=False)
        else:
            self.console.print(f"[dim]· {service.name} is being restarted[/]")
            self.restarting[service] = (request, self.replace(service))

    def end_restart(self, service: Service, request: restarts.Request, text: str, *, is_done: bool) -> None:
        """Report the outcome of a restart here and to the command."""
        del self.restarting[service]
        self.console.print(f"[{'dim' if is_done else 'yellow'}]· {text}[/]", highlight=False)
        request.answer(text, is_done=is_done)

    def replace(self, service: Service) -> Iterator[None]:
        """Replace the web of a service, then its worker, each by a new one that has become ready beside it.

        Yields while it waits. If a new process does not become ready, the present one stays. Raises RestartError,
        OSError.
        """
        try:
            self.values = with_present_database(service, dict(self.values), self.environ)
        except ConfigurationError as error:
            raise RestartError(str(error)) from None
        makers: tuple[tuple[list[Child], Callable[..., Child], int], ...] = (
            (self.webs, self.web, self.values["WEB_CONCURRENCY"]),
            (self.workers, self.worker, 1),
        )
        for group, make, processes in makers:
            for old in [child for child in group if child.service is service]:
                new = make(service, is_anew=True)
                yield from self.try_out(new, processes)
                group[group.index(old)] = new
                yield from self.retire(old)

    def try_out(self, new: Child, processes: int) -> Iterator[None]:
        """Start a process, and wait until ``processes`` of its own are ready. Raises RestartError, OSError."""
        new.lifecycle.begin_trial()
        self.passing.append(new)
        try:
            new.start()
            until = time.monotonic() + TRIAL_SECONDS
            while new.lifecycle.ready() < processes:
                code = new.process.poll() if new.process else None
                if code is not None:
                    raise RestartError(
                        f"The new {new.title} ended with code {code} while starting, so the present one stays. The log "
                        "lines say why."
                    )
                if time.monotonic() > until:
                    reason = new.lifecycle.reason() or "the log lines say why"
                    raise RestartError(
                        f"The new {new.title} was not ready after {TRIAL_SECONDS:g} s ({reason}), so the present one "
                        "stays."
                    )
                yield
            new.lifecycle.end_trial()
        except BaseException:
            new.send(signal.SIGKILL)  # it has served nothing
            new.wait(time.monotonic() + 5)
            raise
        finally:
            self.passing.remove(new)

    def retire(self, old: Child) -> Iterator[None]:
        """Stop a process that has been replaced. It finishes what it has begun."""
        self.passing.append(old)
        old.send(signal.SIGTERM)
        until = time.monotonic() + STOP_TIMEOUT_SECONDS
        while old.process is not None and old.process.poll() is None:
            if time.monotonic() > until:
                old.send(signal.SIGKILL)
            yield
        self.passing.remove(old)
        shutil.rmtree(old.lifecycle.folder, ignore_errors=True)

    def drain(self) -> None:
        """Announce the end of the webs, and wait DRAIN_SECONDS while they still answer. A further signal ends it."""
        for child in self.webs:
            child.lifecycle.leave()
        until = time.monotonic() + self.values["DRAIN_SECONDS"]
        self.is_draining = True
        while self.is_draining and time.monotonic() < until:
            time.sleep(0.05)
        self.is_draining = False

    def stop(self) -> None:
        """Stop the webs, then the workers, which still deliver messages of the webs, then Postgres."""
        self.is_stopping = True
        if self.is_ready:
            self.drain()
        for listener in self.listeners.values():
            listener.close()
        end([*self.webs, *self.passing])
        end(self.workers)
        if self.server is not None:
            self.server.release()
            postgres.await_stopped(self.folder)
            self.server = None
        if self.lock is not None:
            running.withdraw(self.folder)


def end(children: Collection[Child]) -> None:
    """Stop the processes, and kill those that still run after STOP_TIMEOUT_SECONDS."""
    for child in children:
        child.send(signal.SIGTERM)
    until = time.monotonic() + STOP_TIMEOUT_SECONDS
    for child in children:
        if not child.wait(until):
            child.send(signal.SIGKILL)
            child.wait(until + 5)


def _shown_python() -> str:
    """The path of this Python, as a user would type it in the project's folder."""
    python = Path(sys.executable)
    return shlex.quote(str(python.relative_to(ROOT) if python.is_relative_to(ROOT) else python))


def port_of(service: Service, values: Mapping[str, Any]) -> int:
    """The port on which the service listens under `up`."""
    own = values[service.listen_port_variable] or urlsplit(values[service.url_variable]).port
    return int(own or service.port)


def development_pages() -> Iterator[tuple[Service, str]]:
    """The services and the paths of pages that there are in development only."""
    for service in SERVICES:
        for rule in rules_of(service, service.access_module):
            if rule.development and "{" not in rule.route:
                yield service, rule.route


def local_url(service: Service, values: Mapping[str, Any]) -> str:
    """The URL of a service on this machine."""
    host = values["BIND_HOST"]
    return f"http://{'127.0.0.1' if host == EVERYWHERE else host}:{port_of(service, values)}"


def service_environment(service: Service, values: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a service's process. It contains the URL of its own database only."""
    databases = {"DATABASE_URL", "DIRECT_URL"}
    databases |= {name for each in SERVICES for name in (each.database_url_variable, each.direct_url_variable)}
    parts, direct = database_parts(service, values) or {}, direct_parts(service, values) or {}
    return {
        # gunicorn reads some of these variables itself, and an empty one would be a value for it.
        **{name: value for name, value in environ.items() if value and name.removesuffix("_FILE") not in databases},
        "DJANGO_SETTINGS_MODULE": service.settings_module,
        "DATABASE_URL": as_url(parts) if parts else "",
        "DIRECT_URL": as_url(direct) if direct != parts else "",
    }


def past_the_pooler(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a service's process that needs a session of its own."""
    return {**environment, "DATABASE_URL": environment["DIRECT_URL"] or environment["DATABASE_URL"]}


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
            environment = past_the_pooler(service_environment(service, values, environ))
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

    Requests queue behind a migration that waits for a lock, and they have 5 s. The limits are those of a session, which
    a pooler would mix with those of others: it refuses them, and so the migration.
    """
    import django
    from django.db import OperationalError, connection

    django.setup()
    parameters = connection.settings_dict["OPTIONS"]
    parameters["options"] = with_options(parameters.get("options"), f"{SESSION_OPTIONS} -c lock_timeout=4s")
    with long_waits(MIGRATION_TIMEOUT_SECONDS):
        try:
            with connection.cursor() as cursor:
                cursor.execute("SHOW lock_timeout")
                is_ours = cursor.fetchone() == ("4s",)
        except OperationalError as error:
            if is_from_pooler(error):
                raise Pooled() from None
            raise
        if not is_ours:
            raise Pooled()
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
