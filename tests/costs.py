"""What a request costs, in figures that do not depend on how fast the machine is.

The test's transaction must surround the request (`django_db` without ``transaction=True``), because Postgres counts the
rows of a transaction by session. The tests' server writes no full pages, so a request always writes about the same WAL.
"""

import sys
from collections.abc import Callable
from itertools import pairwise
from types import FrameType
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
    ``functions``: calls of functions written in Python, which take most of a request's CPU time. A limit of None allows
    any number.
    """

    statements: int = 0
    calls: int = 0
    rows: int = 0
    index_entries: int = 0
    wal_bytes: int = 0
    garbage: int = 0
    functions: int | None = None


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
    rows = max(each[0] for each in written)
    # An update that finds its page full is not HOT. That is chance: rows that were rolled back fill pages, too.
    index_entries, wal_bytes = (min(each[n] for each in written) for n in (1, 2))
    garbage = len(garbage_of(request))
    return Cost(statements, calls, rows, index_entries, wal_bytes, garbage, _functions_of(request))


def assert_within(cost: Cost, limit: Cost) -> None:
    """Fails with all figures that exceed their limits."""
    exceeded = {
        name: (value, most)
        for name, value, most in zip(Cost._fields, cost, limit, strict=True)
        if most is not None and value > most
    }
    assert not exceeded, f"more than allowed (found, limit): {exceeded}"


def _functions_of(request: Callable[[], Any]) -> int:
    """How many functions of Python the request calls in this thread. The least of several, as caches may be renewed."""
    return min(_called_by(request) for _ in range(REPETITIONS))


def _called_by(request: Callable[[], Any]) -> int:
    called = 0

    def note(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal called
        called += event == "call"

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        request()
    finally:
        sys.setprofile(before)
    return called


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
