"""The harness's view of a contender: its processes, without their implementation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SERVICES = ("user", "product", "order", "notification", "analytics")


@dataclass(frozen=True, slots=True)
class Layout:
    """The environment of a contender. ``dsn`` are libpq URLs with one role per service; the schema has the role's name.
    ``url`` are base URLs on this machine. ``folder`` is an empty folder for the contender.
    """

    dsn: Mapping[str, str]
    url: Mapping[str, str]
    workers: int
    threads: int
    folder: Path

    def port(self, service: str) -> int:
        return int(self.url[service].rpartition(":")[2])


@dataclass(frozen=True, slots=True)
class Process:
    """One server, started in the project's root. ``environment`` is added to the harness's own."""

    service: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


class ContenderError(Exception):
    """A contender does not start, or ends early. The message says why."""


@dataclass(frozen=True, slots=True)
class Contender:
    """``processes`` are ready when each answers `GET /health/live` with 200. They end on SIGTERM.

    The client sends ``headers`` with each request after the start. ``deep_page(rows, limit)`` is the path
    of the page of orders (newest first) after ``rows`` rows, or None if it can only be found by following `next`.
    """

    name: str
    title: str
    processes: Callable[[Layout], list[Process]]
    headers: Callable[[Layout], Mapping[str, str]] = lambda layout: {}
    deep_page: Callable[[int, int], str] | None = None
