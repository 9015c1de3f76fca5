"""What a request costs, in figures that do not depend on how fast the machine is.

The test's transaction must surround the request (`django_db` without ``transaction=True``), because Postgres counts the
rows of a transaction by session. The tests' server writes no full pages, so a request always writes about the same WAL.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

from tests.wire import garbage_of, statements_of

REPETITIONS = 5
"""The least WAL of so many requests counts, since other processes of the server write some as well."""
_WRITTEN = """
    SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0),
           coalesce(sum((n_tup_ins + n_tup_upd - n_tup_hot_upd)
               * (SELECT count(*) FROM pg_index WHERE indrelid = relid)), 0),
           pg_current_wal_insert_lsn() - '0/0'::pg_lsn
    FROM pg_stat_xact_user_tables
"""


class Cost(NamedTuple):
    """The cost of one request.

    ``index_entries`` counts all indexes of a table for each row that is new or not updated in place (HOT), also partial
    indexes that do not hold the row. ``garbage``: objects that only the garbage collector can free.
    """

    statements: int = 0
    calls: int = 0
    rows: int = 0
    index_entries: int = 0
    wal_bytes: int = 0
    garbage: int = 0


def cost_of(request: Callable[[], Any], peers: Any = None) -> Cost:
    """Measures a request (`tests.wire.ask_wsgi`) that can be repeated, and that asserts its status.

    ``peers`` is the fake network that counts calls to other services.
    """
    request()  # what is made once is not counted
    statements = len(statements_of(request))
    called = [len(peers.calls) if peers else 0]
    written = []
    for _ in range(REPETITIONS):
        written.append(_written_by(request))
        called.append(len(peers.calls) if peers else 0)
    calls = min(
        after - before for before, after in pairwise(called)
    )  # a late call of an earlier repetition does not count
    rows, index_entries = (max(each[n] for each in written) for n in (0, 1))
    wal_bytes = min(each[2] for each in written)
    return Cost(statements, calls, rows, index_entries, wal_bytes, len(garbage_of(request)))


def assert_within(cost: Cost, limit: Cost) -> None:
    """Fails with all figures that exceed their limits."""
    exceeded = {
        name: (value, most) for name, value, most in zip(Cost._fields, cost, limit, strict=True) if value > most
    }
    assert not exceeded, f"more than allowed (found, limit): {exceeded}"


def _written_by(request: Callable[[], Any]) -> tuple[int, int, int]:
    before = _written()
    request()
    rows, index_entries, wal_bytes = (int(now - then) for now, then in zip(_written(), before, strict=True))
    return rows, index_entries, wal_bytes


def _written() -> tuple[Any, ...]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(_WRITTEN)
        return tuple(cursor.fetchone())
