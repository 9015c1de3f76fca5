"""Applies events to the read models. A batch and its position are one transaction, so each event counts once."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from django.db import OperationalError, transaction
from django.db.models import Func, Q, TextField, Value
from django.db.models.functions import Now
from django.utils.timezone import now
from prometheus_client import Counter
from psycopg.errors import LockNotAvailable, QueryCanceled

from analytics_svc.contributions import KINDS, Changes, Product, State, state_in, state_of
from analytics_svc.models import FeedPosition, ParkedEvent
from platform_core.api import encode
from platform_core.clients import Event
from platform_core.conf import reached
from platform_core.db import Unanswered, array, lock_milliseconds, prepared
from platform_core.topology import SERVICES
from platform_core.vocabulary import EventType

MAX_CONTENT = 16_384
log = logging.getLogger("analytics.feeds")
_unknown = Counter("feed_events_unknown_total", "Events of types that change no figure.", ["service"])
_applied = Counter("feed_events_applied_total", "Events that were taken from a feed.", ["service"])
_parked = Counter("feed_events_parked_total", "Events that could not be applied.", ["service"])
for _service in SERVICES:
    if _service.has_feed:
        _parked.labels(_service.name)  # starts at 0, so that the first parked event is an increase

KIND_OF = {str(each): each.resource for each in EventType if each.resource in KINDS}
"""The types of events that change figures, and the kind of resource they are about. All other events are skipped."""

IS_REBUILT = Q(rebuilding_until__gt=Now())
"""Whether a rebuild holds its lease on a position, by Postgres' clock."""
Key = tuple[str, int]
_INVALID = (ValueError, OverflowError, RecursionError)
MAX_DIGITS = 18
_FACTS_OF = {kind: msgspec.json.Decoder(list[tuple[int, each]]) for kind, each in KINDS.items()}  # type: ignore[valid-type]
_encode = msgspec.json.encode

_KNOWN = """
    SELECT wanted.kind, '[' || string_agg('[' || f.resource_id || ',' || f.state::text || ']', ',') || ']'
    FROM unnest(%s::text[], %s::bigint[]) AS wanted (kind, id)
    JOIN analytics_svc_fact f ON f.generation = %s AND f.kind = wanted.kind AND f.resource_id = wanted.id
    GROUP BY wanted.kind
"""
# Every writer takes the rows in the same order, which prevents deadlocks.
_STORE = """
    WITH facts AS (
        INSERT INTO analytics_svc_fact (generation, kind, resource_id, version, state)
        SELECT %(generation)s, kind, id, version, state::jsonb
        FROM unnest(%(kinds)s::text[], %(ids)s::bigint[], %(versions)s::bigint[], %(states)s::text[])
            AS fact (kind, id, version, state)
        ON CONFLICT (generation, kind, resource_id) DO UPDATE SET version = excluded.version, state = excluded.state
    ), daily AS (
        INSERT INTO analytics_svc_dailyfigure AS f (generation, name, date, value)
        SELECT %(generation)s, * FROM unnest(%(daily)s::text[], %(dates)s::date[], %(of_days)s::numeric[]) ORDER BY 2, 3
        ON CONFLICT (generation, name, date) DO UPDATE SET value = f.value + excluded.value
    )
    INSERT INTO analytics_svc_figure AS f (generation, name, value)
    SELECT %(generation)s, * FROM unnest(%(figures)s::text[], %(amounts)s::numeric[]) ORDER BY 2
    ON CONFLICT (generation, name) DO UPDATE SET value = f.value + excluded.value
"""
# Two feeds write product rows concurrently. The order by id prevents deadlocks.
_ADD_SOLD = """
    INSERT INTO analytics_svc_productfigure AS f (generation, product_id, name, stock, listed, units, revenue)
    SELECT %s, id, '', 0, false, units, revenue
    FROM unnest(%s::bigint[], %s::bigint[], %s::numeric[]) AS sold (id, units, revenue) ORDER BY id
    ON CONFLICT (generation, product_id)
    DO UPDATE SET units = f.units + excluded.units, revenue = f.revenue + excluded.revenue
"""
_SET_PRODUCTS = """
    INSERT INTO analytics_svc_productfigure
        (generation, product_id, name, stock, low_stock_threshold, listed, units, revenue)
    SELECT %s, id, name, stock, threshold, listed, 0, 0
    FROM unnest(%s::bigint[], %s::text[], %s::bigint[], %s::bigint[], %s::boolean[])
        AS p (id, name, stock, threshold, listed) ORDER BY id
    ON CONFLICT (generation, product_id)
    DO UPDATE SET name = excluded.name, stock = excluded.stock, low_stock_threshold = excluded.low_stock_threshold,
        listed = excluded.listed
"""


class Update(NamedTuple):
    """The new state of a resource, from an event or a list."""

    key: Key
    state: State


class Undigestible(Exception):
    """An event of a known type that breaks the contract."""


class Superseded(Exception):
    """A rebuild is replacing this generation by a newer one, or has done so."""


class Occupied(Exception):
    """Another process holds the position for longer than this one may wait."""


@transaction.atomic
def take_in(position: FeedPosition, events: Sequence[Event], as_of: datetime | None) -> FeedPosition:
    """Applies the events that follow ``position`` and returns the new position.

    If another process has moved the position, applies nothing and returns the stored one. ``as_of`` is the time up to
    which the figures are then complete, or None if there is more to read. Raises Superseded, Occupied.
    """
    held = hold(position, lock_milliseconds())
    if held.is_rebuilt:  # type: ignore[attr-defined]
        raise Superseded("The figures are being rebuilt.")
    if held.last_event_id == position.last_event_id:
        updates, parked = _sort_out(held, events)
        fold_in(held, updates)
        if parked:
            ParkedEvent.objects.bulk_create(parked, ignore_conflicts=True)
        reached("feed.applied")
        held.last_event_id = events[-1].id
        held.caught_up_at = as_of or held.caught_up_at
        held.save(update_fields=["last_event_id", "caught_up_at"])
        _applied.labels(held.service).inc(len(events))
    return held


def hold(position: FeedPosition, milliseconds: int | None = None) -> FeedPosition:
    """Locks and returns the stored position. Nobody else can apply events of its feed until the transaction ends.

    Waits ``milliseconds`` for it at most, or as any statement may. ``is_rebuilt``: a rebuild will replace its
    generation. Raises Superseded, Occupied.
    """
    rows = FeedPosition.objects.select_for_update().filter(pk=position.pk, live=position.live)
    if milliseconds is not None:
        limit = Func(
            Value("lock_timeout"),
            Value(str(milliseconds)),
            Value(True),
            function="set_config",
            output_field=TextField(),
        )
        rows = rows.alias(limit=limit).filter(limit__isnull=False)  # set before the row is locked
    try:
        held = rows.annotate(is_rebuilt=IS_REBUILT).first()
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable | QueryCanceled | Unanswered):
            raise Occupied("Another process holds the position.") from None
        raise
    if held is None:
        raise Superseded("A rebuild has replaced the figures.")
    return held


def _sort_out(position: FeedPosition, events: Sequence[Event]) -> tuple[list[Update], list[ParkedEvent]]:
    """Separates the updates from the invalid events, which are parked so that they do not block later events."""
    updates, parked = [], []
    for event in events:
        kind = KIND_OF.get(event.type)
        if kind is None:
            _unknown.labels(position.service).inc()
            continue
        try:
            updates.append(read_event(kind, event))
        except Undigestible as error:
            parked.append(park(position, event, str(error)))
    return updates, parked


def read_event(kind: str, event: Event) -> Update:
    """The update in an event. Raises Undigestible."""
    try:
        key = kind, _resource_id(event.subject)
        state = state_in(kind, event.data, deleted=event.type.endswith(".deleted"))
    except _INVALID as error:
        raise Undigestible(str(error)) from None
    if state.version < 1:
        raise Undigestible("a version below 1")
    return Update(key, state)


def read_row(kind: str, row: Mapping[str, Any]) -> Update:
    """The update in a row of a service's list. Raises Undigestible."""
    try:
        return Update((kind, _resource_id(str(row.get("id")))), state_of(kind, {**row, "version": 0, "deleted": False}))
    except _INVALID as error:
        raise Undigestible(str(error)) from None


def park(position: FeedPosition, event: Event, error: str) -> ParkedEvent:
    """Logs and counts an invalid event. Returns an unsaved row for an operator to look at."""
    _parked.labels(position.service).inc()
    data = {"peer": position.service, "id": event.id, "type": event.type, "error": error}
    log.error("feed.event_parked", extra={"data": data})
    return ParkedEvent(
        generation=position.generation,
        service=position.service,
        event_id=_bounded(event.id, 100),
        type=_bounded(event.type, 100),
        subject=_bounded(event.subject, 100),
        content=_bounded(encode(event).decode(errors="replace"), MAX_CONTENT),
        error=_bounded(error, 500),
        parked_at=now(),
    )


def _bounded(text: str, most: int) -> str:
    """Cuts a text to ``most`` characters and replaces NUL, which Postgres cannot store."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")[:most]


_decode = msgspec.json.Decoder(Event).decode


@transaction.atomic
def try_again(parked: ParkedEvent) -> bool:
    """Applies a parked event and deletes it. Returns False if it is still invalid.

    The event may be outdated: the higher version of its resource wins.
    """
    position = FeedPosition.objects.filter(service=parked.service, generation=parked.generation, live=True).first()
    if position is None:
        return False
    hold(position)
    try:
        event = _decode(parked.content)
        update = read_event(KIND_OF[event.type], event)
    except (Undigestible, ValueError, KeyError) as error:
        ParkedEvent.objects.filter(pk=parked.pk).update(error=_bounded(str(error), 500))
        return False
    fold_in(position, [update])
    parked.delete()
    return True


def fold_in(position: FeedPosition, updates: Sequence[Update]) -> None:
    """Applies updates to the facts and figures of the position's generation, whose days are those of its time zone.

    The surrounding transaction must hold the lock on the position. Queries: the known facts; facts and figures; and, if
    they change, what was sold of products, and the products.
    """
    if updates:
        known = _known(position.generation, {key for key, _ in updates})
        _store(position.generation, *_fold(known, updates, ZoneInfo(position.time_zone)))


def _resource_id(subject: str) -> int:
    if not (subject.isascii() and subject.isdigit() and len(subject) <= MAX_DIGITS):
        raise ValueError("the subject is not an id")
    return int(subject)


def _fold(known: Mapping[Key, State], updates: Sequence[Update], zone: tzinfo) -> tuple[dict[Key, State], Changes]:
    """Computes the new states of the resources and the change of the figures."""
    latest = dict(known)
    for key, state in updates:
        latest[key] = state.following(latest.get(key))
    states = {key: state for key, state in latest.items() if state != known.get(key)}
    changes = Changes()
    for key, state in states.items():
        old = known.get(key)
        if old is not None:
            old.contribute(changes, -1, zone)
        state.contribute(changes, +1, zone)
    return states, changes


def _known(generation: int, keys: Iterable[Key]) -> dict[Key, State]:
    kinds, ids = zip(*keys, strict=True)
    found = prepared(_KNOWN, [array(kinds), array(ids), generation])
    return {(kind, resource_id): state for kind, facts in found for resource_id, state in _FACTS_OF[kind].decode(facts)}


def _store(generation: int, states: Mapping[Key, State], changes: Changes) -> None:
    if not states:
        return
    figures = {name: value for name, value in changes.figures.items() if value}
    daily = {key: value for key, value in changes.daily.items() if value}
    values = {
        "generation": generation,
        "kinds": array(kind for kind, _ in states),
        "ids": array(resource_id for _, resource_id in states),
        "versions": array(state.version for state in states.values()),
        "states": array(_encode(state).decode() for state in states.values()),
        "daily": array(name for name, _ in daily),
        "dates": array(day.isoformat() for _, day in daily),
        "of_days": array(daily.values()),
        "figures": array(figures),
        "amounts": array(figures.values()),
    }
    prepared(_STORE, values)
    _add_sold(generation, changes)
    _set_products(generation, [(key[1], state) for key, state in states.items() if isinstance(state, Product)])


def _add_sold(generation: int, changes: Changes) -> None:
    sold = {product_id: amount for product_id, amount in changes.sold.items() if any(amount)}
    if sold:
        units, revenue = zip(*sold.values(), strict=True)
        prepared(_ADD_SOLD, [generation, array(sold), array(units), array(revenue)])


def _set_products(generation: int, products: Sequence[tuple[int, Product]]) -> None:
    if products:
        rows = ((pk, p.name, p.stock, p.own_threshold, str(not p.deleted)) for pk, p in products)
        prepared(_SET_PRODUCTS, [generation, *map(array, zip(*rows, strict=True))])
