"""Taking events in: one transaction for a batch, together with the position behind it, so that each counts once."""

import logging
from collections.abc import Sequence
from datetime import datetime

from django.db import DataError, IntegrityError, connection, transaction
from prometheus_client import Counter

from analytics_svc.contributions import Contribution, contribution
from analytics_svc.models import Fact, FeedPosition
from platform_core.clients.feeds import Event

log = logging.getLogger("analytics.feeds")
_skipped = Counter("feed_events_skipped_total", "Events that could not be digested.", ["service"])

KIND_OF = {
    **dict.fromkeys(("user.created", "user.updated", "user.deleted"), "user"),
    **dict.fromkeys(("product.created", "product.updated", "product.deleted", "stock.changed"), "product"),
    **dict.fromkeys(("order.confirmed", "order.cancelled", "order.shipped", "order.delivered"), "order"),
    **dict.fromkeys(("notification.sent", "notification.failed"), "notification"),
}
"""The events that change figures, and the kind of resource they are about. All others are passed over."""

_INDIGESTIBLE = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, DataError, IntegrityError)

_ADD_FIGURES = """
    INSERT INTO analytics_svc_figure AS f (name, value)
    SELECT * FROM unnest(%s::text[], %s::numeric[]) ORDER BY 1
    ON CONFLICT (name) DO UPDATE SET value = f.value + excluded.value
"""
_ADD_DAILY = """
    INSERT INTO analytics_svc_dailyfigure AS f (name, date, value)
    SELECT * FROM unnest(%s::text[], %s::date[], %s::numeric[]) ORDER BY 1, 2
    ON CONFLICT (name, date) DO UPDATE SET value = f.value + excluded.value
"""
# Product rows are written for two feeds at once; in id order neither waits for the other in a circle.
_ADD_SOLD = """
    INSERT INTO analytics_svc_productfigure AS f (product_id, name, stock, listed, units, revenue)
    SELECT id, '', 0, false, units, revenue
    FROM unnest(%s::bigint[], %s::bigint[], %s::numeric[]) AS sold (id, units, revenue) ORDER BY id
    ON CONFLICT (product_id) DO UPDATE SET units = f.units + excluded.units, revenue = f.revenue + excluded.revenue
"""
_SET_PRODUCTS = """
    INSERT INTO analytics_svc_productfigure (product_id, name, stock, listed, units, revenue)
    SELECT id, name, stock, listed, 0, 0
    FROM unnest(%s::bigint[], %s::text[], %s::bigint[], %s::boolean[]) AS p (id, name, stock, listed) ORDER BY id
    ON CONFLICT (product_id) DO UPDATE SET name = excluded.name, stock = excluded.stock, listed = excluded.listed
"""


@transaction.atomic
def take_in(service: str, after: str, events: Sequence[Event], as_of: datetime | None) -> FeedPosition:
    """Apply the events that follow ``after``, unless somebody else has moved the position; where it is then.

    ``as_of``: the moment up to which the figures are complete now; None when there is more to read.
    """
    position = FeedPosition.objects.select_for_update().get(service=service)
    if position.last_event_id == after:
        _apply(service, events)
        position.last_event_id = events[-1].id
        position.caught_up_at = as_of or position.caught_up_at
        position.save(update_fields=["last_event_id", "caught_up_at"])
    return position


def _apply(service: str, events: Sequence[Event]) -> None:
    """All at once; if that fails, by halves, until the event that cannot be digested is alone and left out.

    One bad event must not keep every later one from being counted.
    """
    try:
        with transaction.atomic():
            _store(*_fold(events))
    except _INDIGESTIBLE as error:
        if len(events) > 1:
            middle = len(events) // 2
            _apply(service, events[:middle])
            _apply(service, events[middle:])
            return
        _skipped.labels(service).inc()
        data = {"service": service, "id": events[0].id, "type": events[0].type, "error": repr(error)}
        log.error("feed.event_skipped", extra={"data": data})


def _fold(events: Sequence[Event]) -> tuple[list[Fact], Contribution]:
    """The resources' new states, and by how much the figures change."""
    known = [(event, (KIND_OF[event.type], int(event.subject))) for event in events if event.type in KIND_OF]
    facts = _facts({key for _, key in known})
    changed: dict[tuple[str, int], Fact] = {}
    changes = Contribution()
    for event, key in known:
        old = facts.get(key)
        new = _successor(old, event, key)
        if new is not None:
            changes.add(contribution(key[0], old.state if old else None), -1)
            changes.add(contribution(key[0], new.state), +1)
            facts[key] = changed[key] = new
    return list(changed.values()), changes


def _successor(old: Fact | None, event: Event, key: tuple[str, int]) -> Fact | None:
    """What is known after ``event``; None when it tells nothing new.

    The higher version holds. A deletion holds, too, whatever comes before or after it: the stock of a deleted product
    still changes when an order of it is cancelled.
    """
    kind, resource_id = key
    deleted = event.type.endswith(".deleted")
    version = event.data["version"]
    if old is None:
        return Fact(kind=kind, resource_id=resource_id, version=version, state={**event.data, "deleted": deleted})
    if version > old.version:
        state = {**event.data, "deleted": deleted or old.state["deleted"]}
        return Fact(kind=kind, resource_id=resource_id, version=version, state=state)
    if deleted and not old.state["deleted"]:
        state = {**old.state, "deleted": True}
        return Fact(kind=kind, resource_id=resource_id, version=old.version, state=state)
    return None


def _facts(keys: set[tuple[str, int]]) -> dict[tuple[str, int], Fact]:
    found: dict[tuple[str, int], Fact] = {}
    for kind in {kind for kind, _ in keys}:
        ids = [resource_id for k, resource_id in keys if k == kind]
        found |= {(kind, fact.resource_id): fact for fact in Fact.objects.filter(kind=kind, resource_id__in=ids)}
    return found


def _store(facts: list[Fact], changes: Contribution) -> None:
    Fact.objects.bulk_create(
        facts, update_conflicts=True, unique_fields=["kind", "resource_id"], update_fields=["version", "state"]
    )
    figures = {name: value for name, value in changes.figures.items() if value}
    daily = {key: value for key, value in changes.daily.items() if value}
    sold = {product_id: amount for product_id, amount in changes.sold.items() if any(amount)}
    products = [fact for fact in facts if fact.kind == "product"]
    with connection.cursor() as cursor:
        if figures:
            cursor.execute(_ADD_FIGURES, [list(figures), list(figures.values())])
        if daily:
            cursor.execute(_ADD_DAILY, [[n for n, _ in daily], [d for _, d in daily], list(daily.values())])
        if sold:
            units, revenue = zip(*sold.values(), strict=True)
            cursor.execute(_ADD_SOLD, [list(sold), list(units), list(revenue)])
        if products:
            cursor.execute(
                _SET_PRODUCTS,
                [
                    [fact.resource_id for fact in products],
                    [fact.state["name"] for fact in products],
                    [fact.state["stock"] for fact in products],
                    [not fact.state["deleted"] for fact in products],
                ],
            )
