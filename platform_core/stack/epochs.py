"""``manage.py new_epoch``: must run after a restore, or after a promotion that lost transactions.

Feeds are ordered by (epoch, transaction id, sequence), and the other server has lower transaction ids. Without a new
epoch, consumers would never see new events, because these would come before the positions that they have reached.
The services may run meanwhile: writers of events and this command exclude each other by a lock (`events/log.py`).

The lost rows had ids that other services, mails and clients may know. So the sequences of all resources are moved past
the highest id that any service knows, and further by `GAP` for ids that only mails and clients know.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import psycopg

from platform_core.conf.environment import direct_parts
from platform_core.db.waiting import open_connection, open_session
from platform_core.stack.supervisor import StackError
from platform_core.topology import ANALYTICS, NOTIFICATION, ORDER, PRODUCT, SERVICES, USER, Service

GAP = 1_000_000
"""Ids that are left out at least. More rows than that are not created between a backup and its restore."""
LOCK_MS = 200
"""The longest time for which writers of events wait behind one attempt to raise an epoch."""
PAUSE = 0.3
"""Seconds between two attempts, in which writers go on."""
PATIENCE = 120.0
"""Seconds after which `raise_epochs` gives up. Longer than any transaction of the services that writes events."""
_ABSURD = 10**15
"""No sequence reaches it. In development anybody may send such an id; it is not taken for one that was given out."""
Ask = Callable[[Service, str], int]
"""Runs a query in the database of a service and returns the only column of the only row."""

_RAISE = """
    INSERT INTO {0}.events_feedepoch (value)
    SELECT greatest(coalesce(max(value), 1), {1}) + 1 FROM {0}.events_feedepoch RETURNING value
"""
_FORGET = "WITH gone AS (DELETE FROM {0}.events_serverhistory RETURNING id) SELECT count(*) FROM gone"
_MOVE = "SELECT setval('{0}.{1}_id_seq', greatest({2}, (SELECT last_value FROM {0}.{1}_id_seq)) + {3})"
_BLOCKING = """
    SELECT a.pid, extract(epoch FROM clock_timestamp() - a.xact_start)::int
    FROM pg_locks l JOIN pg_stat_activity a USING (pid) JOIN pg_database d ON d.oid = l.database
    WHERE l.locktype = 'advisory' AND l.mode = 'ShareLock' AND l.granted AND d.datname = current_database()
      AND l.objid = 'events_feedepoch'::regclass::oid
    ORDER BY a.xact_start LIMIT 1
"""

_MISSING = (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName)


class _Known(NamedTuple):
    """A query for the highest id, or epoch, that a service knows.

    ``is_proof``: the id was given out. Otherwise it may be made up: in development anybody may reserve stock for any
    order, and a notification may be sent to a user who does not exist.
    """

    service: Service
    query: str
    is_proof: bool = True


class _Resource(NamedTuple):
    """The table whose sequence gives out the ids, and where else they are known."""

    owner: Service
    table: str
    known: Sequence[_Known]


def _highest(service: Service, column: str, table: str, condition: str = "true", *, is_proof: bool = True) -> _Known:
    rows = f"{service.role}.{service.package}_{table}"
    query = f"SELECT coalesce(max({column}), 0) FROM {rows} WHERE {column} < {_ABSURD} AND {condition}"
    return _Known(service, query, is_proof)


def _fact(kind: str) -> _Known:
    return _highest(ANALYTICS, "resource_id", "fact", f"kind = '{kind}'")


# The id in `order-17-confirmed`. A regular expression would take half a minute for a million rows.
_PART = "split_part(sender_key, '-', 2)"
_ORDER_OF_KEY = (
    f"CASE WHEN sender_key LIKE 'order-%' AND length({_PART}) BETWEEN 1 AND 18"
    f" AND translate({_PART}, '0123456789', '') = '' THEN {_PART}::bigint END"
)
_RESOURCES = (
    _Resource(
        USER,
        "user_svc_user",
        (
            _highest(ORDER, "user_id", "order"),
            _highest(NOTIFICATION, "user_id", "notification", is_proof=False),
            _fact("user"),
        ),
    ),
    _Resource(
        PRODUCT,
        "product_svc_product",
        (
            _highest(ORDER, "product_id", "orderline", "unit_price IS NOT NULL"),  # others may name anything
            _highest(ANALYTICS, "product_id", "productfigure"),
            _fact("product"),
        ),
    ),
    _Resource(
        ORDER,
        "order_svc_order",
        (
            _highest(PRODUCT, "order_id", "stockreservation", is_proof=False),
            _highest(NOTIFICATION, _ORDER_OF_KEY, "notification", f"caller = 'service:{ORDER.name}'"),
            _fact("order"),
        ),
    ),
    _Resource(NOTIFICATION, "notification_svc_notification", (_fact("notification"),)),
)
_EPOCH = """
    SELECT coalesce(max(split_part(last_event_id, '-', 1)::int), 1) FROM analytics_svc.analytics_svc_feedposition
    WHERE service = '{0}' AND last_event_id <> ''
"""


def raise_epochs(values: Mapping[str, Any], services: Sequence[Service] = SERVICES) -> dict[str, int]:
    """Raise the epochs of the feeds of ``services``. Returns the new ones by the names of the services.

    The services may run. A transaction that writes events can hold this up: raises StackError if one does so for
    longer than `PATIENCE`. Also raises StackError if a database does not answer or has no feed yet.
    """

    def ask(service: Service, query: str) -> int:
        return _ask(service, values, query)

    try:
        return _renew(ask, [ask], partial(_raise_online, values), services)
    except (*_MISSING, psycopg.errors.UndefinedFunction) as error:
        missing = str(error).splitlines()[0]
        raise StackError(
            f"A service has no feed yet, or an older one: restore the dump, and run `manage.py migrate` ({missing})."
        ) from None


def raise_epoch(connection: psycopg.Connection[Any], schema: str, seen: int = 1) -> int:
    """Raise the epoch of one feed past ``seen`` and its own, in the open transaction. Returns the new one.

    Nobody must be able to write events, because this takes no lock.
    """
    row = connection.execute(_RAISE.format(schema, seen).encode()).fetchone()
    assert row is not None
    return int(row[0])


def raise_epoch_online(connection: psycopg.Connection[Any], schema: str, seen: int = 1) -> int:
    """As `raise_epoch`, while others write events. Also forgets which server the feed belongs to.

    ``connection`` is one of the schema's owner, in autocommit. Raises LockNotAvailable if a transaction that has
    written events stays open for longer than `PATIENCE`. Writers wait for at most `LOCK_MS` behind each attempt.
    """
    until = time.monotonic() + PATIENCE
    while True:
        try:
            with connection.transaction():
                connection.execute(f"SET LOCAL lock_timeout = {LOCK_MS}".encode())
                connection.execute("SELECT events_exclude_writers()")
                connection.execute(_FORGET.format(schema).encode())
                return raise_epoch(connection, schema, seen)
        except psycopg.errors.LockNotAvailable:
            if time.monotonic() > until:
                raise
            time.sleep(PAUSE)


def _raise_online(values: Mapping[str, Any], service: Service, seen: int) -> int:
    with open_connection(**(direct_parts(service, values) or {}), autocommit=True) as connection:
        try:
            return raise_epoch_online(connection, service.role, seen)
        except psycopg.errors.LockNotAvailable:
            raise StackError(f"{service.name}: {_blocking(connection)} Nothing has changed for this service.") from None


def _blocking(connection: psycopg.Connection[Any]) -> str:
    row = connection.execute(_BLOCKING).fetchone()
    found = f" (the oldest has been open for {row[1]} s, SELECT pg_terminate_backend({row[0]}) ends it)" if row else ""
    return f"transactions that write events did not end within {PATIENCE:g} s{found}."


def raise_epochs_here(connection: psycopg.Connection[Any], before: psycopg.Connection[Any]) -> None:
    """Raise the epochs of all feeds in one database, as its administrator. Raises psycopg.errors.UndefinedTable.

    ``before`` is the database that it replaces, which may know more ids.
    """

    def asking(connection: psycopg.Connection[Any]) -> Ask:
        def ask(service: Service, query: str) -> int:
            with connection.transaction():
                return _one(connection, query)

        return ask

    ask = asking(connection)

    def renew(service: Service, seen: int) -> int:
        _known(ask, _Known(service, _FORGET.format(service.role)))  # an older dump has no such table
        with connection.transaction():
            return raise_epoch(connection, service.role, seen)

    _renew(ask, [ask, asking(before)], renew, SERVICES)


def ids_behind(ask: Ask) -> list[tuple[str, int, int]]:
    """Where ids would be given out twice: the table, the last id of its sequence, and the highest known id."""
    found = []
    for resource in _RESOURCES:
        given = ask(resource.owner, f"SELECT last_value FROM {resource.owner.role}.{resource.table}_id_seq")
        known = max(_known(ask, source) for source in resource.known if source.is_proof)
        if known > given:
            found.append((resource.table, given, known))
    return found


def _renew(
    ask: Ask, knowing: Iterable[Ask], renew: Callable[[Service, int], int], services: Sequence[Service]
) -> dict[str, int]:
    """Move the sequences and raise the epochs, by ``renew``. Running it twice only leaves out more ids."""
    for resource in _RESOURCES:
        if resource.owner in services:
            sequence = _Known(resource.owner, f"SELECT last_value FROM {resource.owner.role}.{resource.table}_id_seq")
            known = max(_known(each, source) for each in knowing for source in (*resource.known, sequence))
            ask(resource.owner, _MOVE.format(resource.owner.role, resource.table, known, GAP))
    epochs = {}
    for service in services:
        if service.has_feed:
            seen = max(_known(each, _Known(ANALYTICS, _EPOCH.format(service.name))) for each in knowing)
            seen = max(seen, *(_known(each, _own_epoch(service)) for each in knowing))
            epochs[service.name] = renew(service, seen)
    return epochs


def _own_epoch(service: Service) -> _Known:
    """The highest epoch of the feed and of its consumers' positions."""
    return _Known(
        service,
        f"SELECT greatest((SELECT max(value) FROM {service.role}.events_feedepoch), "
        f"(SELECT max(epoch) FROM {service.role}.events_feedconsumer), 1)",
    )


def _known(ask: Ask, source: _Known) -> int:
    """What a service knows. One that was never migrated knows nothing."""
    try:
        return ask(source.service, source.query)
    except _MISSING:
        return 0


def _one(connection: psycopg.Connection[Any], query: str) -> int:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


def _ask(service: Service, values: Mapping[str, Any], query: str) -> int:
    try:
        with open_session(**(direct_parts(service, values) or {})) as connection:
            return _one(connection, query)
    except psycopg.OperationalError as error:
        raise StackError(f"The database of {service.name} does not answer: {str(error).strip()}") from None
