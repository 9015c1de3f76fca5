"""Taking events in: one transaction for a batch, together with the position behind it, so that each counts once."""

import logging
import re
from collections.abc import Sequence
from datetime import datetime

from django.db import connection, transaction
from msgspec import to_builtins
from prometheus_client import Counter

from analytics_svc.contributions import Contribution, Product, State, state_of
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

Key = tuple[str, int]

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
        _store(*_fold([told for event in events if (told := _read(service, event))]))
        position.last_event_id = events[-1].id
        position.caught_up_at = as_of or position.caught_up_at
        position.save(update_fields=["last_event_id", "caught_up_at"])
    return position


def _read(service: str, event: Event) -> tuple[Key, State] | None:
    """What an event tells of which resource; None when it changes no figure.

    One that breaks the contract is left out, told and counted: it must not keep all later ones from being taken in.
    """
    kind = KIND_OF.get(event.type)
    if kind is None:
        return None
    try:
        state = state_of(kind, {**event.data, "deleted": event.type.endswith(".deleted")})
        return (kind, _resource_id(event)), state
    except (ValueError, OverflowError) as error:
        _skipped.labels(service).inc()
        data = {"service": service, "id": event.id, "type": event.type, "error": str(error)}
        log.error("feed.event_skipped", extra={"data": data})
        return None


def _resource_id(event: Event) -> int:
    if not re.fullmatch("[0-9]{1,18}", event.subject, re.ASCII):
        raise ValueError("the subject is no id")
    return int(event.subject)


def _fold(told: Sequence[tuple[Key, State]]) -> tuple[dict[Key, State], Contribution]:
    """The resources' new states, and by how much the figures change."""
    known = _known({key for key, _ in told})
    changed: dict[Key, State] = {}
    changes = Contribution()
    for key, state in told:
        old = known.get(key)
        new = state.following(old)
        if new != old:
            if old is not None:
                changes.add(old.contribution(), -1)
            changes.add(new.contribution(), +1)
            known[key] = changed[key] = new
    return changed, changes


def _known(keys: set[Key]) -> dict[Key, State]:
    found: dict[Key, State] = {}
    for kind in {kind for kind, _ in keys}:
        facts = Fact.objects.filter(kind=kind, resource_id__in=[resource_id for k, resource_id in keys if k == kind])
        found |= {
            (kind, resource_id): state_of(kind, state)
            for resource_id, state in facts.values_list("resource_id", "state")
        }
    return found


def _store(states: dict[Key, State], changes: Contribution) -> None:
    Fact.objects.bulk_create(
        [
            Fact(kind=kind, resource_id=resource_id, version=state.version, state=to_builtins(state))
            for (kind, resource_id), state in states.items()
        ],
        update_conflicts=True,
        unique_fields=["kind", "resource_id"],
        update_fields=["version", "state"],
    )
    figures = {name: value for name, value in changes.figures.items() if value}
    daily = {key: value for key, value in changes.daily.items() if value}
    sold = {product_id: amount for product_id, amount in changes.sold.items() if any(amount)}
    products = [(key[1], state) for key, state in states.items() if isinstance(state, Product)]
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
                    [product_id for product_id, _ in products],
                    [product.name for _, product in products],
                    [product.stock for _, product in products],
                    [not product.deleted for _, product in products],
                ],
            )
