"""Generates the tables of docs/scaling.md: what a rate of orders needs, from the measured cost of one order."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from platform_core.conf.environment import ROOT
from platform_core.stack import platform_connections
from platform_core.topology import ORDER, PRODUCT, SERVICES, USER

RATES = (100, 1_000, 10_000)
"""Orders per second."""
BUSY = 0.6
"""The share of its time for which a core or thread may be busy, so that queues stay short."""
WRITES = 3
"""Writing transactions of an order: pending, reserved, confirmed."""
MAIL_SECONDS = 0.1
"""How long a mail server takes for one mail: an assumption, since it depends on the server alone."""
WEBS = (1, 10, 100)
"""The numbers of webs of each service in the table of connections."""
POOL = 20
"""Connections of a pooler for each service, in transaction mode."""
_DAY = 86_400


class SizingError(Exception):
    """docs/performance.md does not have a figure that is needed. The message names it."""


class Costs(NamedTuple):
    """The cost of an order of one line: CPU in ms by part, the time for which it holds a thread, bytes."""

    cpu: Mapping[str, float]
    seconds: float
    kept: float
    wal: float


def measured() -> Costs:
    """The figures in docs/performance.md and in the tables of its last run. Raises SizingError."""
    page = (ROOT / "docs" / "performance.md").read_text()
    results = (ROOT / "docs" / "performance" / "results.md").read_text()
    names = (ORDER.name, PRODUCT.name, USER.name, "Postgres")
    cpu = {name: _number(page, rf"^\| {name} \| ([\d.]+) ms \|") for name in names}
    of_orders = results[results.index("**order_1:") :]
    median = _number(of_orders, r"^\| this-tokens \| [^|]+\| [^|]+\| ([\d.]+)")
    kept = _number(page, r"about ([\d.]+) KB on")
    wal = _number(page, r"writes ([\d.]+) KB of")
    return Costs(cpu, median / 1000, kept * 1000, wal * 1000)


def _number(text: str, pattern: str) -> float:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise SizingError(f"docs/performance has no figure that matches {pattern!r}.")
    return float(found[1])


def processes(rate: float, cpu_ms: float) -> int:
    """How many processes, each with one core at most, serve so many orders per second with `BUSY`."""
    return math.ceil(rate * cpu_ms / 1000 / BUSY - 1e-9)


def needs_table() -> str:
    """What `RATES` need, as a table in Markdown. Raises SizingError."""
    costs = measured()
    rows: list[tuple[str, Callable[[int], str]]] = []
    for name, milliseconds in costs.cpu.items():
        what = "cores" if name == "Postgres" else "processes"
        rows.append((f"{name}: busy cores", _busy_cores(milliseconds)))
        rows.append((f"{name}: {what}, {BUSY:.0%} busy", _processes(milliseconds)))
    rows += [
        ("threads of order-service that orders hold", lambda rate: f"{math.ceil(rate * costs.seconds):,}"),
        ("writing transactions per second", lambda rate: f"{rate * WRITES:,}"),
        ("WAL per second", lambda rate: _bytes(rate * costs.wal)),
        ("WAL per day", lambda rate: _bytes(rate * costs.wal * _DAY)),
        ("disk per day", lambda rate: _bytes(rate * costs.kept * _DAY)),
        ("mails at once, 0.1 s each", lambda rate: f"{math.ceil(rate * MAIL_SECONDS):,}"),
    ]
    head = ["", *(f"{rate:,} orders/s" for rate in RATES)]
    lines = [head, ["---", *["---:"] * len(RATES)], *([what, *map(cell, RATES)] for what, cell in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _busy_cores(milliseconds: float) -> Callable[[int], str]:
    return lambda rate: f"{rate * milliseconds / 1000:,.2g}"


def _processes(milliseconds: float) -> Callable[[int], str]:
    return lambda rate: f"{processes(rate, milliseconds):,}"


def _bytes(number: float) -> str:
    for unit in ("KB", "MB", "GB"):
        number /= 1000
        if number < 1000:
            return f"{number:,.3g} {unit}"
    return f"{number / 1000:,.3g} TB"


def connections_table(values: Mapping[str, Any]) -> str:
    """The connections of `WEBS` webs with and without a pooler, as a table in Markdown.

    ``values`` are those of `environment.parsed`. There is one worker of each service for ten webs of it.
    """
    lines = ["| webs of all services | workers of each service | without a pooler | with one in transaction mode |"]
    lines.append("|---:|---:|---:|---:|")
    for webs in WEBS:
        workers = max(1, webs // 10)
        direct = platform_connections(values, webs=webs, workers=workers)
        pooled = min(direct, POOL * len(SERVICES))
        lines.append(f"| {webs * len(SERVICES)} | {workers} | {direct:,} | {pooled:,} |")
    return "\n".join(lines)
