"""``manage.py demo``: creates demo data. The services provide the steps; this module connects them.

Users come first, then the catalog, then the orders, in batches that pass through the services as in the saga:
order-service plans, product-service takes the stock, notification-service stores the messages, order-service stores
the orders. The steps run concurrently, connected by pipes, each in a process with its service's own settings and
database role.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from platform_core.conf.environment import ROOT
from platform_core.stack import StackError, die_with_parent, health_of, locked, service_environment
from platform_core.tools.demo_data import Batch, Spec, encoded, read_batches
from platform_core.topology import ANALYTICS, NOTIFICATION, ORDER, PRODUCT, USER, Service

LIMITS = {"users": 1_000_000, "products": 100_000, "orders": 5_000_000}
MAX_SEED = 999_999_999
STAFF = "staff@example.com"
STOP_TIMEOUT_SECONDS = 60.0
PROGRESS_SECONDS = 10.0
CATCH_UP_TIMEOUT_SECONDS = 120.0
_READING_SECONDS = 30

Step = tuple[Service, str]
_ORDERS: Sequence[Step] = ((ORDER, "plan"), (PRODUCT, "reserve"), (NOTIFICATION, "accept"), (ORDER, "keep"))


def fill(values: Mapping[str, Any], environ: Mapping[str, str], spec: Spec) -> int:
    """Create the data of ``spec`` that does not exist yet. Returns the exit code. Raises StackError."""
    check(values, spec)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with only_one(values), progress_report() as report:
            run = Run(values, environ, spec, report)
            run.make_all()
    except KeyboardInterrupt:
        raise StackError("Stopped. Run the same command again to continue.") from None
    show(run)
    return 0


def check(values: Mapping[str, Any], spec: Spec) -> None:
    """Raises StackError in production, and for orders without users or products."""
    if values["PLATFORM_ENV"] == "production":
        raise StackError("Demo data is not for production: PLATFORM_ENV is production here.")
    if spec.orders and not (spec.users and spec.products):
        raise StackError("Orders need users and products: set --users and --products above 0.")


@contextmanager
def only_one(values: Mapping[str, Any]) -> Iterator[None]:
    """Hold the lock that allows one run at a time. Raises StackError if another one is running."""
    folder = Path(values["PLATFORM_DATA"])
    try:
        lock = locked(folder / "demo.lock", wait=False)
    except OSError as error:
        raise StackError(f"The data folder {folder} cannot be used: {error.strerror}. Set PLATFORM_DATA.") from None
    if lock is None:
        raise StackError("Another `manage.py demo` is running here. Wait until it has ended.")
    with lock:
        yield


class ProgressReport:
    """Shows progress: a bar on a terminal, otherwise a line at most every PROGRESS_SECONDS and one at the end."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = Progress(
            TextColumn("{task.description:12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.task: TaskID | None = None
        self.what, self.total, self.printed_at = "", 0, 0.0

    def begin(self, what: str, total: int) -> None:
        """Start a new task of ``total`` items."""
        self.what, self.total, self.printed_at = what, total, time.monotonic()
        self.task = self.bar.add_task(what, total=total)

    def reach(self, done: int) -> None:
        """Report that ``done`` items are finished."""
        assert self.task is not None
        self.bar.update(self.task, completed=done)
        if not self.console.is_terminal and (
            done >= self.total or time.monotonic() - self.printed_at > PROGRESS_SECONDS
        ):
            self.printed_at = time.monotonic()
            self.console.print(f"{self.what}: {done} of {self.total}", highlight=False)


@contextmanager
def progress_report() -> Iterator[ProgressReport]:
    """A `ProgressReport` whose bar is live inside the block."""
    report = ProgressReport(Console(soft_wrap=True))
    with report.bar:
        yield report


@dataclass(slots=True)
class Run:
    """One run of the command. ``written`` counts the new rows by table."""

    values: Mapping[str, Any]
    environ: Mapping[str, str]
    spec: Spec
    progress: ProgressReport
    written: Counter[str] = field(default_factory=Counter)
    began: float = field(default_factory=time.monotonic)
    counted_by_analytics: bool = False
    staff: str = ""

    def make_all(self) -> None:
        """Create users, products and orders, in this order. Raises StackError."""
        with tempfile.TemporaryFile() as known:
            for service, name in ((USER, "users"), (PRODUCT, "products")):
                for batch in self.through([(service, name)], getattr(self.spec, name)):
                    known.write(encoded(batch) + b"\n")
            self.make_staff()
            known.seek(0)
            for _ in self.through(_ORDERS, self.spec.orders, known):
                pass
        if self.written:
            with suppress(KeyboardInterrupt):  # all data has been created
                self.count()

    def make_staff(self) -> None:
        """Create an account for the admins. The output for a new account contains its password. Raises StackError."""
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), USER.package, "make_staff", STAFF, "--name", "Demo Staff"],
            cwd=ROOT,
            env=service_environment(USER, self.values, self.environ),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise StackError(f"{USER.name}, staff: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
        self.staff = done.stdout.strip() if "Password" in done.stdout else ""

    def through(self, steps: Sequence[Step], total: int, source: IO[bytes] | None = None) -> Iterator[Batch]:
        """Run ``steps`` as a pipeline, and yield the batches of the last one. Raises StackError if a step fails.

        If the caller stops early, for example by Ctrl-C, the first step ends. Batches that it has passed on go through
        the other steps, so that none is left incomplete.
        """
        self.progress.begin(steps[-1][1] if len(steps) == 1 else "orders", total)
        done = 0
        with Pipeline(self._start, steps, source) as pipeline:
            for batch in read_batches(pipeline.output):
                self.written.update(batch.written)
                done += batch.count
                self.progress.reach(done)
                yield batch

    def _start(self, step: Step, source: IO[bytes] | int, errors: IO[bytes]) -> subprocess.Popen[bytes]:
        service, name = step
        return subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), service.package, "demo", name, encoded(self.spec).decode()],
            cwd=ROOT,
            env=service_environment(service, self.values, self.environ),
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )

    def count(self) -> None:
        """Let analytics-service, if it runs, process the new events now instead of at the next report."""
        url = self.values[ANALYTICS.url_variable]
        if health_of(url, "/health/ready")[0] != 200:
            return
        self.progress.begin("analytics", self.spec.orders)
        seen, until = -1, time.monotonic() + CATCH_UP_TIMEOUT_SECONDS
        while time.monotonic() < until:
            report = _summary(url)
            total = sum(
                report.get(part, {}).get("total", 0) for part in ("users", "products", "orders", "notifications")
            )
            if total != seen:
                seen, until = total, time.monotonic() + CATCH_UP_TIMEOUT_SECONDS
            self.counted_by_analytics = bool(report) and not report["stale"]
            if self.counted_by_analytics:
                self.progress.reach(self.spec.orders)
                return
            self.progress.reach(min(report.get("orders", {}).get("total", 0), max(self.spec.orders - 1, 0)))


def _summary(url: str) -> dict[str, Any]:
    """The summary of analytics-service. Without an answer, waits a second and returns an empty one."""
    headers = {"X-Request-Timeout": str(_READING_SECONDS)}
    request = urllib.request.Request(f"{url}/api/analytics/summary", headers=headers)  # noqa: S310  # our own URL
    with suppress(OSError, ValueError), urllib.request.urlopen(request, timeout=_READING_SECONDS + 5) as response:  # noqa: S310
        found: dict[str, Any] = json.loads(response.read())
        return found
    time.sleep(1)
    return {}


Start = Callable[[Step, "IO[bytes] | int", IO[bytes]], subprocess.Popen[bytes]]


class Pipeline:
    """Steps that run concurrently. Each reads the output of the step before it; ``output`` is that of the last step."""

    def __init__(self, start: Start, steps: Sequence[Step], source: IO[bytes] | None) -> None:
        self.steps = steps
        self.errors: list[IO[bytes]] = [tempfile.TemporaryFile() for _ in steps]  # noqa: SIM115  # closed in __exit__
        self.processes: list[subprocess.Popen[bytes]] = []
        feed: IO[bytes] | int = source or subprocess.DEVNULL
        for step, errors in zip(steps, self.errors, strict=True):
            process = start(step, feed, errors)
            if self.processes:
                self.processes[-1].stdout.close()  # type: ignore[union-attr]  # only the next step reads it
            self.processes.append(process)
            assert process.stdout is not None
            feed = self.output = process.stdout

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        try:
            if kind is not None:
                self.processes[0].terminate()
                for _ in self.output:
                    pass  # let the other steps finish their batches
            failed = self.failure()
        finally:
            self.close()
        if failed and kind is None:
            raise StackError(failed)

    def failure(self) -> str:
        """The error message of the last step that failed; empty if none did.

        When a step fails, the steps before it fail, too, because nobody reads their output. The last one has the cause.
        """
        until = time.monotonic() + STOP_TIMEOUT_SECONDS
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, until - time.monotonic()))
        for (service, name), process, errors in reversed(
            list(zip(self.steps, self.processes, self.errors, strict=True))
        ):
            if process.returncode:
                errors.seek(0)
                lines = errors.read().decode(errors="replace").strip().splitlines() or [
                    f"it ended with {process.returncode}"
                ]
                return f"{service.name}, {name}: {lines[-1].removeprefix('CommandError: ')}"
        return ""

    def close(self) -> None:
        """Kill the steps that still run, and close their files."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        for file in (self.output, *self.errors):
            file.close()


def show(run: Run) -> None:
    """Print what was created."""
    console, spec = run.progress.console, run.spec
    if run.staff:
        console.print(f"For the five admins: {run.staff}", highlight=False)
    wanted = f"{spec.users} users, {spec.products} products and {spec.orders} orders of seed {spec.seed}"
    if not run.written:
        console.print(
            f"{wanted} are there already: nothing was added. Another --seed adds other data.", highlight=False
        )
        return
    table = Table("table", "new rows")
    for name, rows in sorted(run.written.items()):
        table.add_row(name, str(rows))
    console.print(table)
    console.print(f"{wanted} are there, after {time.monotonic() - run.began:.1f} s.", highlight=False)
    if not run.counted_by_analytics:
        console.print("analytics-service will process them at the next report.")
