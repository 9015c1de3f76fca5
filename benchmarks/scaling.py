"""Scaling of this project: orders with more workers, and with a full database."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import psycopg

from benchmarks.comparing import Spread
from benchmarks.contender import SERVICES, Contender
from benchmarks.database import LARGE, SMALL, Server
from benchmarks.measuring import Figure, Measurement
from benchmarks.reporting import Table
from benchmarks.work import BY_NAME

CONFIGURATIONS = ((1, SMALL), (2, SMALL), (4, SMALL), (2, LARGE))
"""The configurations: workers per service, and the database."""
PLACING = BY_NAME["order_1"]


@dataclass(frozen=True, slots=True)
class Step:
    """The result of one configuration in one round. Bytes are per order, with indexes, events and messages."""

    workers: int
    database: str
    connections: int
    table_bytes: float
    wal_bytes: float
    figure: Figure


def measure_scaling(measurement: Measurement, this: Contender) -> list[Step]:
    """Runs all configurations in turn in every round. Raises ContenderFailed."""
    options, found = measurement.options, []
    for number in range(options.rounds):
        turn = CONFIGURATIONS[::-1] if number % 2 else CONFIGURATIONS
        for workers, database in turn:
            measurement.options = replace(options, workers=workers)
            found.append(_step(measurement, number, this, workers, database))
    measurement.options = options
    return found


def _step(measurement: Measurement, number: int, this: Contender, workers: int, database: str) -> Step:
    with measurement.started(number, this, database) as (running, site):
        before = _Disk.of(measurement.server, database)
        measurement.say(f"round {number + 1}  workers of each service: {workers}, {database} database")
        measurement.figure(number, running, site, PLACING)
        after = _Disk.of(measurement.server, database)
    orders = after.orders - before.orders
    return Step(
        workers,
        database,
        after.connections,
        (after.tables - before.tables) / orders,
        (after.wal - before.wal) / orders,
        measurement.measured.figures[-1],
    )


@dataclass(frozen=True, slots=True)
class _Disk:
    """The state of the database: confirmed orders, bytes of tables and indexes, total WAL bytes, and the number of
    connected.
    """

    orders: int
    tables: int
    wal: int
    connections: int

    @classmethod
    def of(cls, server: Server, database: str) -> "_Disk":
        with psycopg.connect(server.url(database)) as connection:
            row = connection.execute(
                """
                SELECT (SELECT count(*) FROM order_svc.order_svc_order WHERE status = 'confirmed'),
                    pg_database_size(current_database()),
                    pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint,
                    (SELECT count(*) FROM pg_stat_activity
                     WHERE datname = current_database() AND usename LIKE '%_svc' AND backend_type = 'client backend')
                """
            ).fetchone()
        assert row is not None
        return cls(*row)


def scaling_table(steps: Sequence[Step]) -> Table:
    rows = []
    for workers, database in CONFIGURATIONS:
        same = [step for step in steps if (step.workers, step.database) == (workers, database)]
        rows.append(_row(f"{workers} {'worker' if workers == 1 else 'workers'}, {database} database", same))
    services = [f"{service} CPU ms" for service in SERVICES[:3]]
    columns = ("", "orders/s", "p50 ms", *services, "Postgres CPU ms", "connections", "bytes kept", "bytes of WAL")
    return Table("order_1: place an order of one line", columns, rows)


def _row(title: str, steps: Sequence[Step]) -> list[str]:
    def text(values: list[float], digits: int) -> str:
        found = Spread.of(values)
        return found.text(digits) if found else ""

    figures = [step.figure for step in steps]
    return [
        title,
        text([figure.per_second for figure in figures], 0),
        text([figure.p50_ms for figure in figures], 1),
        *(text([figure.service_cpu_ms[service] for figure in figures], 2) for service in SERVICES[:3]),
        text([figure.postgres_cpu_ms for figure in figures], 2),
        str(max(step.connections for step in steps)),
        text([step.table_bytes for step in steps], 0),
        text([step.wal_bytes for step in steps], 0),
    ]


def as_json(steps: Sequence[Step], about: dict[str, Any]) -> dict[str, Any]:
    return {"about": about, "rounds": [asdict(step) for step in steps]}
