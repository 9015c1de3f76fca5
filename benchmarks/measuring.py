"""Runs the rounds: in each one, every contender does all the work in turn and is measured."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from statistics import median, quantiles

from benchmarks.answers import Differs
from benchmarks.client import Client, Sample, UnexpectedAnswer
from benchmarks.contender import SERVICES, Contender, ContenderError, Layout
from benchmarks.database import LARGE, SMALL, Server
from benchmarks.running import Running, Usage, running
from benchmarks.site import Site
from benchmarks.work import Work

WARM_UP = 600
WARM_UP_SECONDS = 3.0
SEED = 20


@dataclass(frozen=True, slots=True)
class Options:
    rounds: int
    seconds: float
    connections: int
    workers: int
    threads: int


@dataclass(frozen=True, slots=True)
class Figure:
    """The result of one work of one contender in one round. CPU is in milliseconds per request."""

    round: int
    contender: str
    work: str
    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    postgres_cpu_ms: float
    service_cpu_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory and connections of a contender at the end of a turn."""

    round: int
    contender: str
    database: str
    pss_mib: float


@dataclass(slots=True)
class Measured:
    figures: list[Figure] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        return asdict(self)


class ContenderFailed(Exception):
    """A contender cannot be measured. The message names the work and the reason."""


def in_turn(contenders: Sequence[Contender], number: int) -> list[Contender]:
    """The order of the contenders, which changes from round to round."""
    shift = number // 2 % len(contenders)
    turn = [*contenders[shift:], *contenders[:shift]]
    return turn[::-1] if number % 2 else turn


@dataclass(slots=True)
class Measurement:
    server: Server
    folder: Path
    ports: dict[str, int]
    options: Options
    say: Callable[[str], None]
    measured: Measured = field(default_factory=Measured)

    def run(self, contenders: Sequence[Contender], works: Sequence[Work]) -> Measured:
        """Runs all rounds. Raises ContenderFailed.

        A contender is started for its turn and stopped after it, because idle ones would use memory and connections of
        the embedded Postgres. Each contender gets a fresh copy of the small database.
        """
        for number in range(self.options.rounds):
            for database in (SMALL, LARGE):
                chosen = [work for work in works if work.database == database]
                for contender in in_turn(contenders, number) if chosen else ():
                    self.turn(number, contender, database, chosen)
        return self.measured

    def turn(self, number: int, contender: Contender, database: str, works: Sequence[Work]) -> None:
        with self.started(number, contender, database) as (found, site):
            for work in works:
                self.figure(number, found, site, work)
            held = found.memory()
            self.measured.memory.append(Memory(number, contender.name, database, held))
            self.say(f"round {number + 1}  {contender.name:12} {database} database: {held:.0f} MiB")

    @contextmanager
    def started(self, number: int, contender: Contender, database: str) -> Iterator[tuple[Running, Site]]:
        """Starts the contender on the database. Raises ContenderFailed."""
        self.server.prepare(database)
        layout = self.layout(contender, database)
        try:
            with running(contender, layout, self.server.process) as found:
                size = self.server.sizes[database]
                yield found, Site(contender, layout, found.headers, size, Random(SEED + number))  # noqa: S311
        except ContenderError as error:
            raise ContenderFailed(str(error)) from None
        finally:
            shutil.rmtree(layout.folder, ignore_errors=True)

    def layout(self, contender: Contender, database: str) -> Layout:
        folder = self.folder / f"{contender.name}-{database}"
        folder.mkdir()
        url = {service: f"http://127.0.0.1:{self.ports[service]}" for service in SERVICES}
        return Layout(self.server.dsn(database), url, self.options.workers, self.options.threads, folder)

    def figure(self, number: int, found: Running, site: Site, work: Work) -> None:
        """Checks a response, warms up, and measures. Raises ContenderFailed."""
        name = site.contender.name
        try:
            requests = work.requests(site)
            answer = site.ask(work.service, next(requests), work.status)
            work.check(site, answer, answer.json())
            client = Client(site.layout.port(work.service), self.options.connections, work.status, requests)
            client.warm_up(WARM_UP_SECONDS, WARM_UP)
            before = found.usage()
            sample = client.measure(self.options.seconds)
            used = found.usage().since(before)
        except (UnexpectedAnswer, Differs, OSError, ValueError) as error:
            raise ContenderFailed(f"{name}, {work.name}: {error}\n{found.said()}") from None
        figure = figure_of(number, name, work.name, sample, used)
        self.measured.figures.append(figure)
        self.say(
            f"round {number + 1}  {name:12} {work.name:14} {figure.per_second:8.1f}/s  p50 {figure.p50_ms:7.2f} ms  "
            f"p99 {figure.p99_ms:7.2f} ms  CPU {figure.cpu_ms:7.3f} ms + Postgres {figure.postgres_cpu_ms:6.3f} ms"
        )


def figure_of(number: int, contender: str, work: str, sample: Sample, used: Usage) -> Figure:
    count = len(sample.latencies)
    services = {name: 1000 * seconds / count for name, seconds in used.services.items()}
    return Figure(
        round=number,
        contender=contender,
        work=work,
        requests=count,
        per_second=sample.in_time / sample.seconds,
        p50_ms=1000 * median(sample.latencies),
        p99_ms=1000 * quantiles(sample.latencies, n=100)[98] if count > 1 else 1000 * sample.latencies[0],
        cpu_ms=sum(services.values()),
        postgres_cpu_ms=1000 * used.postgres / count,
        service_cpu_ms=services,
    )
