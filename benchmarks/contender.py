"""What the harness knows of a contender: which processes it is made of, and nothing about how they work."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SERVICES = ("user", "product", "order", "notification", "analytics")


@dataclass(frozen=True, slots=True)
class Layout:
    """What a contender is given. ``dsn`` are libpq URLs, one role for each service, whose schema has the role's name;
    ``url`` are base URLs on this machine; ``folder`` is an empty one of the contender's own.
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
    """One server to start from the project's root. ``environment`` comes on top of the harness's own."""

    service: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contender:
    """``processes`` are ready when each answers `GET /health/live` with 200, and end on SIGTERM.

    ``headers`` go with each request of the client, once the processes are ready. ``deep_page(rows, limit)`` is the path
    of the page of orders, newest first, that begins after so many rows; None where only following `next` leads there.
    """

    name: str
    title: str
    processes: Callable[[Layout], list[Process]]
    headers: Callable[[Layout], Mapping[str, str]] = lambda layout: {}
    deep_page: Callable[[int, int], str] | None = None
