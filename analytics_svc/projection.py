"""Applies events to the read models. A batch and its position are one transaction, so each event counts once."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from django.db import connection, transaction
from django.utils.timezone import now
from msgspec import to_builtins
from prometheus_client import Counter

from analytics_svc.contributions import KINDS, Contribution, Product, State, state_of
from analytics_svc.models import Fact, FeedPosition, ParkedEvent
from platform_core.api import encode
from platform_core.clients import Event
from platform_core.conf import reached
from platform_core.topology import SERVICES
from platform_core.vocabulary import EventType

MAX_CONTENT = 16_384
log = logging.getLogger("analytics.feeds")
_unknown = Counter("feed_events_unknown_total", "Events of types that change no figure.", ["service"])
_parked = Counter("feed_events_parked_total", "Events that could not be applied.", ["service"])
for _service in SERVICES:
    if _service.has_feed:
        _parked.labels(_service.name)  # starts at 0, so that the first parked event is an increase

KIND_OF = {str(each): each.resource for each in EventType if each.resource in KINDS}
"""The types of events that change figures, and the kind of resource they are about. All other events are skipped."""

Key = tuple[str, int]

_ADD_FIGURES = """
    INSERT INTO analytics_svc_figure AS f (generation, name, value)
    SELECT %s, * FROM unnest(%s::text[], %s::numeric[]) ORDER BY 2
    ON CONFLICT (generation, name) DO UPDATE SET value = f.value + excluded.value
"""
_ADD_DAILY = """
    INSERT INTO analytics_svc_dailyfigure AS f (generation, name, date, value)
    SELECT %s, * FROM unnest(%s::text[], %s::date[], %s::numeric[]) ORDER BY 2, 3
    ON CONFLICT (generation, name, date) DO UPDATE SET value = f.value + excluded.value
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
    """A rebuild has replaced this generation by a newer one."""


@transaction.atomic
def take_in(position: FeedPosition, events: Sequence[Event], as_of: datetime | None) -> FeedPosition:
    """Applies the events that follow ``position`` and returns the new position.

    If another request has moved the position, applies nothing and returns the stored one. ``as_of`` is the time up to
    which the figures are then complete, or None if there is more to read. Raises Superseded.
    """
    held = hold(position)
    if held.last_event_id == position.last_event_id:
        updates, parked = _sort_out(held, events)
        fold_in(held, updates)
        ParkedEvent.objects.bulk_create(parked, ignore_conflicts=True)
        reached("feed.applied")
        held.last_event_id = events[-1].id
        held.caught_up_at = as_of or held.caught_up_at
        held.save(update_fields=["last_event_id", "caught_up_at"])
    return held


def hold(position: FeedPosition) -> FeedPosition:
    """Locks and returns the stored position. Nobody else can apply events of its feed until the transaction ends.

    Raises Superseded.
    """
    held = FeedPosition.objects.select_for_update().filter(pk=position.pk, live=position.live).first()
    if held is None:
        raise Superseded
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
    update = _update(kind, event.subject, {**event.data, "deleted": event.type.endswith(".deleted")})
    if update.state.version < 1:
        raise Undigestible("a version below 1")
    return update


def read_row(kind: str, row: Mapping[str, Any]) -> Update:
    """The update in a row of a service's list. Raises Undigestible."""
    return _update(kind, str(row.get("id")), {**row, "version": 0, "deleted": False})


def _update(kind: str, subject: str, data: Mapping[str, Any]) -> Update:
    try:
        return Update((kind, _resource_id(subject)), state_of(kind, data))
    except (ValueError, OverflowError) as error:
        raise Undigestible(str(error)) from None


def park(position: FeedPosition, event: Event, error: str) -> ParkedEvent:
    """Logs and counts an invalid event. Returns an unsaved row for an operator to look at."""
    _parked.labels(position.service).inc()
    data = {"service": position.service, "id": event.id, "type": event.type, "error": error}
    log.error("feed.event_parked", extra={"data": data})
    return ParkedEvent(
        generation=position.generation,
        service=position.service,
        event_id=_bounded(event.id, 100),
        type=_bounded(event.type, 100),
        subject=_bounded(event.subject, 100),
        content=_bounded(encode(event).decode(), MAX_CONTENT),
        error=_bounded(error, 500),
        parked_at=now(),
    )


def _bounded(text: str, most: int) -> str:
    """Cuts a text to ``most`` characters and replaces NUL, which Postgres cannot store."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")[:most]


_decode = msgspec.json.Decoder(Event, float_hook=Decimal).decode


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

    The surrounding transaction must hold the lock on the position.
    """
    known = _known(position.generation, {key for key, _ in updates})
    _store(position.generation, *_fold(known, updates, ZoneInfo(position.time_zone)))


def _resource_id(subject: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", subject, re.ASCII):
        raise ValueError("the subject is not an id")
    return int(subject)


def _fold(known: dict[Key, State], updates: Sequence[Update], zone: tzinfo) -> tuple[dict[Key, State], Contribution]:
    """Computes the new states of the resources and the change of the figures."""
    changed: dict[Key, State] = {}
    changes = Contribution()
    for key, state in updates:
        old = known.get(key)
        new = state.following(old)
        if new != old:
            if old is not None:
                changes.add(old.contribution(zone), -1)
            changes.add(new.contribution(zone), +1)
            known[key] = changed[key] = new
    return changed, changes


def _known(generation: int, keys: Iterable[Key]) -> dict[Key, State]:
    found: dict[Key, State] = {}
    for kind in {kind for kind, _ in keys}:
        ids = [resource_id for k, resource_id in keys if k == kind]
        facts = Fact.objects.filter(generation=generation, kind=kind, resource_id__in=ids)
        found |= {
            (kind, resource_id): state_of(kind, state)
            for resource_id, state in facts.values_list("resource_id", "state")
        }
    return found


def _store(generation: int, states: dict[Key, State], changes: Contribution) -> None:
    Fact.objects.bulk_create(
        [
            Fact(
                generation=generation,
                kind=kind,
                resource_id=resource_id,
                version=state.version,
                state=to_builtins(state),
            )
            for (kind, resource_id), state in states.items()
        ],
        update_conflicts=True,
        unique_fields=["generation", "kind", "resource_id"],
        update_fields=["version", "state"],
    )
    _add(generation, changes)
    _set_products(generation, [(key[1], state) for key, state in states.items() if isinstance(state, Product)])


def _add(generation: int, changes: Contribution) -> None:
    figures = {name: value for name, value in changes.figures.items() if value}
    daily = {key: value for key, value in changes.daily.items() if value}
    sold = {product_id: amount for product_id, amount in changes.sold.items() if any(amount)}
    with connection.cursor() as cursor:
        if figures:
            cursor.execute(_ADD_FIGURES, [generation, list(figures), list(figures.values())])
        if daily:
            names, days = zip(*daily, strict=True)
            cursor.execute(_ADD_DAILY, [generation, list(names), list(days), list(daily.values())])
        if sold:
            units, revenue = zip(*sold.values(), strict=True)
            cursor.execute(_ADD_SOLD, [generation, list(sold), list(units), list(revenue)])


def _set_products(generation: int, products: Sequence[tuple[int, Product]]) -> None:
    if not products:
        return
    columns = zip(*((pk, p.name, p.stock, p.own_threshold, not p.deleted) for pk, p in products), strict=True)
    with connection.cursor() as cursor:
        cursor.execute(_SET_PRODUCTS, [generation, *(list(column) for column in columns)])
