"""Notices that a service's database has lost committed transactions, or has become another database.

Each feed stores which server and timeline it belongs to. After a promotion, a restore or a move these differ, and the
database is compared with what is known elsewhere: the positions of this feed's consumers, and whatever the service has
registered with `compare_with`. If the database is behind, its history is lost: this is stored, and stays so until
`manage.py new_epoch` has run. Otherwise the new server is stored, and nobody is alarmed.
"""

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from django.db import connection
from django.db.models.functions import Now

from platform_core.events.log import EPOCH, LAST_SEQUENCE
from platform_core.events.models import ServerHistory

LOOK_EVERY = 5.0
"""Seconds. A web that has looked more recently, and has opened no connection since, does not look again."""
REMEDY = "Run `manage.py new_epoch`, and then `manage.py verify --repair`; the platform may be running."
log = logging.getLogger("platform.history")

_ALLOWED = """
    SELECT has_function_privilege('pg_control_system()', 'EXECUTE')
       AND has_function_privilege('pg_current_wal_lsn()', 'EXECUTE')
       AND has_function_privilege('pg_walfile_name(pg_lsn)', 'EXECUTE')
"""
# The timeline is the first eight hexadecimal digits of the name of a WAL file. pg_control_checkpoint() has it, too, but
# only after the first checkpoint that follows a promotion. A table gets another oid when a dump is restored.
_LOOK = """
    SELECT {server}, 'events_event'::regclass::oid::bigint, h.system_identifier, h.timeline, h.table_oid, h.lost
    FROM (SELECT 1) AS one LEFT JOIN events_serverhistory h ON h.id = 1
"""
_SERVER = """
    (SELECT system_identifier::text FROM pg_control_system()),
    ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
"""
_UNKNOWN_SERVER = "'unknown', 0"
_NOTE = """
    INSERT INTO events_serverhistory (id, system_identifier, timeline, table_oid, noted_at, lost)
    VALUES (1, %s, %s, %s, clock_timestamp(), '')
    ON CONFLICT (id) DO UPDATE SET system_identifier = excluded.system_identifier, timeline = excluded.timeline,
        table_oid = excluded.table_oid, noted_at = excluded.noted_at
"""
# The events of the present transaction lie beyond the snapshot, too.
_AHEAD = f"""
    SELECT EXISTS (
        SELECT FROM events_event WHERE epoch = {EPOCH} AND txid >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint
            AND txid IS DISTINCT FROM pg_current_xact_id_if_assigned()::text::bigint
    ) OR EXISTS (
        SELECT FROM events_feedconsumer
        WHERE epoch = {EPOCH} AND txid >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint AND sequence < %s
    )
"""
_CANNOT_WATCH = (
    "The database role may not call pg_control_system(), pg_current_wal_lsn() or pg_walfile_name(), so a promoted "
    "replica is not noticed."
)


class Server(NamedTuple):
    """Which database this is. ``timeline`` rises with each promotion; 0 if the role may not look at the server."""

    system_identifier: str
    timeline: int
    table_oid: int


class _Known:
    """What this process knows: among others the time of the last look, and the newest connection at that time."""

    looked_at = float("-inf")
    newest_connection: object = None
    looked_after: object = None
    server: Server | None = None
    lost = ""
    may_look: bool | None = None
    comparisons: tuple[Callable[[], str], ...] = ()


def compare_with(*comparisons: Callable[[], str]) -> None:
    """Register how the service's data is compared after the server has changed.

    Each function returns what proves that the database is behind, or an empty text. It may raise PeerUnreachable.
    """
    _Known.comparisons = comparisons


def loss() -> str:
    """What has been lost, and what to do; empty if nothing has. Looks at the server at most every `LOOK_EVERY` seconds.

    After a new connection it always looks, because a failover breaks all connections. Raises what the registered
    comparisons raise, and looks again next time.
    """
    connection.ensure_connection()
    began, newest = time.monotonic(), _Known.newest_connection
    if began - _Known.looked_at >= LOOK_EVERY or newest is not _Known.looked_after:
        _Known.lost = look()
        _Known.looked_at, _Known.looked_after = began, newest
    return _Known.lost


def look() -> str:
    """Look at the server now. Returns what has been lost, and what to do; empty if nothing has."""
    server, noted, lost = _read()
    if not lost and noted is not None and _is_other(server, noted):
        lost = _compared()
        if lost:
            lost = mark_lost(lost)
        else:
            log.warning("history.server_changed", extra={"data": {"now": server._asdict(), "before": noted._asdict()}})
    if not lost:
        if noted != server:
            _note(server)
        _Known.server = server
    return lost


def mark_lost(reason: str) -> str:
    """Store that transactions were lost, and return it with what to do. The first reason is kept."""
    server, noted, _ = _read()
    if noted is None:
        _note(server)
    ServerHistory.objects.filter(pk=1, lost="").update(lost=f"{reason} {REMEDY}", lost_at=Now())
    _Known.looked_at = float("-inf")
    log.error("history.lost", extra={"data": {"reason": reason, "remedy": REMEDY}})
    return f"{reason} {REMEDY}"


def stored_loss() -> str:
    """What has been lost, as stored. One query; compares nothing."""
    return ServerHistory.objects.filter(pk=1).values_list("lost", flat=True).first() or ""


def unwatched() -> str:
    """Why a change of the server cannot be noticed; empty if it can."""
    return "" if _may_look() else _CANNOT_WATCH


def forget_look(**_: object) -> None:
    """A receiver of `connection_created`: the new connection may lead to another server."""
    _Known.newest_connection = object()


def _read() -> tuple[Server, Server | None, str]:
    with connection.cursor() as cursor:
        cursor.execute(_LOOK.format(server=_SERVER if _may_look() else _UNKNOWN_SERVER))
        row = cursor.fetchone()
    noted = None if row[3] is None else Server(*row[3:6])
    return Server(*row[:3]), noted, row[6] or ""


def _may_look() -> bool:
    if _Known.may_look is None:
        with connection.cursor() as cursor:
            cursor.execute(_ALLOWED)
            _Known.may_look = bool(cursor.fetchone()[0])
        if not _Known.may_look:
            log.warning("history.unwatched", extra={"data": {"reason": _CANNOT_WATCH}})
    return _Known.may_look


def _is_other(server: Server, noted: Server) -> bool:
    """Whether it is another database than the stored one, or than this process has seen.

    The second matters if another process was faster: each process compares with what it remembers itself.
    """
    return server != noted or (_Known.server is not None and server != _Known.server)


def _compared() -> str:
    with connection.cursor() as cursor:
        cursor.execute(_AHEAD, [LAST_SEQUENCE])
        (is_ahead,) = cursor.fetchone()
    if is_ahead:
        return "The feed or its consumers have positions that this database server has not reached."
    found = (comparison() for comparison in _Known.comparisons)
    return next((proof for proof in found if proof), "")


def _note(server: Server) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_NOTE, server)
