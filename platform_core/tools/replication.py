"""What a move of a schema asks of the two Postgres servers: roles, tables, partitions, sequences, replication.

`move` decides in which order. Each function can be run again after it was interrupted.
"""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from platform_core.stack import StackError

Admin = psycopg.Connection[Any]
"""A connection of an administrator, in autocommit, to the database with the schema."""
_GRACE = 2.0
"""Seconds for which the transactions of a service may go on after its role has been fenced."""
_STATEMENT = 60
"""Seconds for a statement that waits for the other server."""

# Partitions are listed by `_PARTITIONS`; here a partitioned table counts once.
_TABLES = """
    SELECT c.relname FROM pg_class c
    WHERE c.relnamespace = to_regnamespace(%s) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    ORDER BY c.relname
"""
_COLUMNS = """
    SELECT c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = to_regnamespace(%s) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
      AND a.attnum > 0 AND NOT a.attisdropped
"""
_UNFIT = """
    SELECT c.relname, CASE WHEN c.relpersistence <> 'p' THEN 'is not logged' ELSE 'has no primary key' END
    FROM pg_class c
    WHERE c.relnamespace = to_regnamespace(%s) AND c.relkind IN ('r', 'p')
      AND (c.relpersistence <> 'p'
           OR NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary))
"""
_PARTITIONS = """
    SELECT c.relname, p.relname, pg_get_expr(c.relpartbound, c.oid)
    FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid JOIN pg_class p ON p.oid = i.inhparent
    WHERE c.relnamespace = to_regnamespace(%s) AND c.relispartition AND c.relkind IN ('r', 'p')
"""
_SEQUENCES = "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relkind = 'S' ORDER BY relname"
_CHECKSUM = """
    SELECT count(*), coalesce(sum(('x' || left(md5(t::text), 15))::bit(60)::bigint::numeric), 0) FROM {} AS t
"""
_COUNT = "SELECT count(*), 0 FROM {} AS t"
_SAME_TEXT = """
    SET timezone = 'UTC'; SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; SET bytea_output = 'hex';
    SET extra_float_digits = 1
"""
_END_SESSIONS = """
    SELECT count(*), count(CASE WHEN %(all)s OR state = 'idle' THEN pg_terminate_backend(pid) END)
    FROM pg_stat_activity WHERE usename = %(role)s AND datname = current_database()
"""


class Progress(NamedTuple):
    """How far a subscription is: tables that are copied, all tables, bytes of WAL behind, and errors so far."""

    copied: int
    tables: int
    behind: int
    errors: int

    @property
    def is_caught_up(self) -> bool:
        """Whether all is copied, and what is left takes a moment."""
        return self.copied == self.tables > 0 and self.behind < 1_000_000


def one(admin: Admin, query: str, *params: Any) -> Any:
    """The only value of the query's first row; None without a row."""
    row = admin.execute(query.encode(), params).fetchone()
    return row[0] if row else None


def column(admin: Admin, query: str, *params: Any) -> list[Any]:
    """The first column of all rows."""
    return [row[0] for row in admin.execute(query.encode(), params)]


def tables(admin: Admin, schema: str) -> list[str]:
    """The tables of a schema; a partitioned one counts once."""
    return column(admin, _TABLES, schema)


def unfit(admin: Admin, schema: str) -> list[str]:
    """The tables that cannot be replicated, with the reason."""
    return [f"{name} {reason}" for name, reason in admin.execute(_UNFIT, [schema])]


def may_log_in(admin: Admin, role: str) -> bool | None:
    """Whether the role may connect; None if there is none."""
    found = one(admin, "SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", role)
    return None if found is None else bool(found)


def let_in(admin: Admin, role: str) -> None:
    """Allow the role to connect."""
    admin.execute(sql.SQL("ALTER ROLE {} LOGIN").format(sql.Identifier(role)))


def fence(admin: Admin, role: str) -> None:
    """Let the role not connect any more, and end its sessions: idle ones at once, the others after a moment.

    Raises StackError if they do not end.
    """
    admin.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(role)))
    began = time.monotonic()
    while True:
        waited = time.monotonic() - began
        row = admin.execute(_END_SESSIONS, {"all": waited > _GRACE, "role": role}).fetchone()
        if row is None or not row[0]:
            return
        if waited > _GRACE + 20:
            raise StackError(f"Sessions of {role} do not end.")
        time.sleep(0.05)


def schema_comment(admin: Admin, schema: str) -> str | None:
    """The comment on a schema; None if there is none."""
    found = one(admin, "SELECT obj_description(to_regnamespace(%s), 'pg_namespace')", schema)
    return None if found is None else str(found)


def comment(admin: Admin, schema: str, text: str | None) -> None:
    """Set or remove the comment on a schema."""
    admin.execute(sql.SQL("COMMENT ON SCHEMA {} IS {}").format(sql.Identifier(schema), sql.Literal(text)))


def drop_schema(admin: Admin, schema: str) -> None:
    """Drop a schema with all that is in it."""
    admin.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))


def publish(admin: Admin, schema: str, name: str) -> None:
    """Make the publication of all tables of a schema, unless there is one."""
    if one(admin, "SELECT 1 FROM pg_publication WHERE pubname = %s", name):
        return
    listed = sql.SQL(", ").join(sql.Identifier(schema, table) for table in tables(admin, schema))
    with admin.transaction():
        admin.execute("SET LOCAL lock_timeout = '5s'")
        admin.execute(
            sql.SQL("CREATE PUBLICATION {} FOR TABLE {} WITH (publish_via_partition_root = true)").format(
                sql.Identifier(name), listed
            )
        )


def is_subscribed(admin: Admin, name: str) -> bool:
    """Whether the subscription exists in this database."""
    query = "SELECT 1 FROM pg_subscription WHERE subname = %s AND subdbid = (SELECT oid FROM pg_database WHERE "
    return bool(one(admin, query + "datname = current_database())", name))


def subscribe(source: Admin, target: Admin, name: str, source_url: str) -> None:
    """Make the subscription, which begins to copy, unless there is one. Raises psycopg.Error."""
    if is_subscribed(target, name):
        return
    drop_slots(source, name)  # of a run that was killed in between
    conninfo = make_conninfo(**{name: str(value) for name, value in conninfo_to_dict(source_url).items()})
    statement = sql.SQL("CREATE SUBSCRIPTION {} CONNECTION {} PUBLICATION {}").format(
        sql.Identifier(name), sql.Literal(conninfo), sql.Identifier(name)
    )
    with _patience(target):
        target.execute(statement)


def progress(source: Admin, target: Admin, name: str) -> Progress:
    """How far the subscription is."""
    row = target.execute(
        "SELECT count(*) FILTER (WHERE r.srsubstate = 'r'), count(*) FROM pg_subscription_rel r"
        " JOIN pg_subscription s ON s.oid = r.srsubid WHERE s.subname = %s",
        [name],
    ).fetchone()
    errors = one(
        target,
        "SELECT apply_error_count + sync_error_count FROM pg_stat_subscription_stats WHERE subname = %s",
        name,
    )
    behind = one(
        source,
        "SELECT greatest(pg_current_wal_lsn() - confirmed_flush_lsn, 0)::bigint FROM pg_replication_slots"
        " WHERE slot_name = %s",
        name,
    )
    assert row is not None
    return Progress(row[0], row[1], 2**62 if behind is None else behind, errors or 0)


def end_of_log(admin: Admin) -> str:
    """The position of the WAL up to which all that was committed is written."""
    return str(one(admin, "SELECT pg_current_wal_insert_lsn()"))


def has_received(source: Admin, name: str, position: str) -> bool:
    """Whether the subscriber has stored everything up to a position of the source's WAL."""
    query = "SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots WHERE slot_name = %s"
    return bool(one(source, query, position, name))


def unsubscribe(source: Admin, target: Admin, name: str) -> None:
    """Remove subscription, slots and publication, as far as they exist."""
    if is_subscribed(target, name):
        target.execute(sql.SQL("ALTER SUBSCRIPTION {} DISABLE").format(sql.Identifier(name)))
        with _patience(target):
            target.execute(sql.SQL("DROP SUBSCRIPTION {}").format(sql.Identifier(name)))
    drop_slots(source, name)
    source.execute(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(sql.Identifier(name)))


def has_logical_slots(admin: Admin) -> bool:
    """Whether any replication needs wal_level = logical. The server would not start without it."""
    return bool(one(admin, "SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'logical'"))


def drop_slots(source: Admin, name: str) -> None:
    """Drop the slot of a subscription that does not exist: it would keep the source's WAL for ever."""
    source.execute(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s AND NOT active",
        [name],
    )


def follow_partitions(source: Admin, target: Admin, schema: str, role: str) -> None:
    """Make the partitions of the source on the target as well, and drop those that the source has dropped.

    Replication carries rows, and no tables: partitions that the service makes or drops meanwhile are not carried.
    """
    wanted = {row[0]: row for row in source.execute(_PARTITIONS, [schema])}
    present = {row[0] for row in target.execute(_PARTITIONS, [schema])}
    for name in present - wanted.keys():
        target.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(schema, name)))
    for name in sorted(wanted.keys() - present):
        _, parent, bound = wanted[name]
        target.execute(
            sql.SQL("CREATE TABLE {} PARTITION OF {} {}").format(
                sql.Identifier(schema, name), sql.Identifier(schema, parent), sql.SQL(bound)
            )
        )
        target.execute(sql.SQL("ALTER TABLE {} OWNER TO {}").format(sql.Identifier(schema, name), sql.Identifier(role)))


def carry_sequences(source: Admin, target: Admin, schema: str) -> int:
    """Set the sequences of the target to the values of the source. Returns how many there are."""
    names = column(source, _SEQUENCES, schema)
    for name in names:
        sequence = sql.Identifier(schema, name)
        row = source.execute(sql.SQL("SELECT last_value, is_called FROM {}").format(sequence)).fetchone()
        assert row is not None
        target.execute("SELECT setval(%s::regclass, %s, %s)", [sequence.as_string(target), *row])
    return len(names)


def differences(
    source: Admin, target: Admin, schema: str, *, with_contents: bool, but_for: Sequence[str] = ()
) -> list[str]:
    """What differs between the two copies of a schema to which nobody writes: columns, numbers of rows, contents.

    Contents are compared by checksums of all rows, unless ``with_contents`` is False. ``but_for``: tables left out.
    """
    ours, theirs = (set(column(each, _COLUMNS, schema)) for each in (source, target))
    if ours != theirs:
        return [f"the columns {', '.join(sorted(ours ^ theirs))}"]
    query = _CHECKSUM if with_contents else _COUNT
    names = [name for name in tables(source, schema) if name not in but_for]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda each: _figures(each, schema, names, query), (source, target)))
    return [
        f"{name} has {here[0]} rows at the source, {there[0]} at the target"
        + (", with other contents" if here[0] == there[0] else "")
        for name, here, there in zip(names, *found, strict=True)
        if here != there
    ]


def _figures(admin: Admin, schema: str, names: Iterable[str], query: str) -> list[Sequence[Any]]:
    admin.execute(_SAME_TEXT.encode())
    return [admin.execute(sql.SQL(query).format(sql.Identifier(schema, name))).fetchone() or () for name in names]


class _patience:
    """Bounds the statements of a block that make this server wait for the other one."""

    def __init__(self, admin: Admin) -> None:
        self.admin = admin

    def __enter__(self) -> None:
        self.admin.execute(f"SET statement_timeout = '{_STATEMENT}s'".encode())

    def __exit__(self, *_: object) -> None:
        if not self.admin.closed:
            self.admin.execute("RESET statement_timeout")
