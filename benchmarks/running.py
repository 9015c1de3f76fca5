"""Runs a contender: starts its processes, measures their resources, and stops them."""

import re
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.contender import Contender, ContenderError, Layout, Process
from platform_core.conf import ROOT
from platform_core.stack import die_with_parent, health_of
from tests.suites import plain_environment

START_TIMEOUT = 60.0
STOP_TIMEOUT = 20.0
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds (user and system) of the contender by service, and of Postgres."""

    services: Mapping[str, float]
    postgres: float

    def since(self, earlier: "Usage") -> "Usage":
        services = {name: seconds - earlier.services[name] for name, seconds in self.services.items()}
        return Usage(services, self.postgres - earlier.postgres)


class Running:
    """A running contender. The client sends ``headers`` with each request."""

    def __init__(self, contender: Contender, layout: Layout, postgres: psutil.Process) -> None:
        self.contender = contender
        self.layout = layout
        self.postgres = postgres
        self.headers: Mapping[str, str] = {}
        self.roots: list[tuple[Process, psutil.Popen]] = []

    def start(self) -> None:
        """Raises ContenderError."""
        for number, process in enumerate(self.contender.processes(self.layout)):
            with self._log(number, process).open("wb") as log:
                started = psutil.Popen(
                    list(process.command),
                    cwd=ROOT,
                    env={**plain_environment(), **process.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    preexec_fn=die_with_parent,
                )
            self.roots.append((process, started))
        self._await_ready()
        self.headers = self.contender.headers(self.layout)

    def _log(self, number: int, process: Process) -> Path:
        return self.layout.folder / f"{number}-{process.service}.log"

    def _await_ready(self) -> None:
        until = time.monotonic() + START_TIMEOUT
        for service in dict.fromkeys(process.service for process, _ in self.roots):
            while health_of(self.layout.url[service], "/health/live")[0] != 200:
                self.check()
                if time.monotonic() > until:
                    raise ContenderError(f"{self.contender.name}: {service} is not ready:\n{self.said()}")
                time.sleep(0.05)

    def check(self) -> None:
        """Raises ContenderError when a process has ended."""
        for process, started in self.roots:
            if started.poll() is not None:
                ended = f"{process.service} ended with {started.poll()}"
                raise ContenderError(f"{self.contender.name}: {ended}:\n{self.said()}")

    def said(self, lines: int = 8) -> str:
        """The last lines of each process."""
        answer = []
        for number, (process, _) in enumerate(self.roots):
            last = self._log(number, process).read_text(errors="replace").splitlines()[-lines:]
            answer += [f"{process.service}: {line[:500]}" for line in last]
        return "\n".join(answer)

    def usage(self) -> Usage:
        services = {process.service: 0.0 for process, _ in self.roots}
        for process, started in self.roots:
            services[process.service] += cpu_seconds(family(started))
        return Usage(services, cpu_seconds(family(self.postgres)))

    def memory(self) -> float:
        """Memory in MiB. Shared pages are divided among the processes (PSS)."""
        return proportional_mib(each for _, started in self.roots for each in family(started))

    def stop(self) -> None:
        """Sends SIGTERM, waits, and kills the remaining processes."""
        everybody = [each for _, started in self.roots for each in family(started)]
        for _, started in self.roots:
            with suppress(psutil.NoSuchProcess):
                started.send_signal(signal.SIGTERM)
        _, left = psutil.wait_procs(everybody, STOP_TIMEOUT)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, STOP_TIMEOUT)


@contextmanager
def running(contender: Contender, layout: Layout, postgres: psutil.Process) -> Iterator[Running]:
    """Starts a contender, waits until it is ready, signs in, and stops it afterwards."""
    found = Running(contender, layout, postgres)
    try:
        found.start()
        yield found
    finally:
        found.stop()


def family(root: psutil.Process) -> list[psutil.Process]:
    """A process and all its descendants. Empty if it has ended."""
    with suppress(psutil.NoSuchProcess):
        return [root, *root.children(recursive=True)]
    return []


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """The CPU time of processes so far, including children that have ended."""
    total = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total


def proportional_mib(processes: Iterable[psutil.Process]) -> float:
    total = 0
    for process in processes:
        with suppress(OSError):
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            if found := re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE):
                total += int(found[1]) * 1024
    return total / _MIB


def ignore_signals() -> None:
    """Ignores a second Ctrl-C while processes are being stopped."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def end_on_signals() -> None:
    """Lets the first signal end the program through its `finally` clauses."""

    def ended(number: int, frame: object) -> None:
        ignore_signals()
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ended)
