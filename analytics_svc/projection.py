"""Taking events in: one transaction for a batch, together with the position behind it, so that each counts once."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from analytics_svc.contributions import KINDS, Contribution, contribution
from analytics_svc.models import Fact, FeedPosition
from platform_core.clients.feeds import Event

_KIND_OF = {"stock": "product"}

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
def take_in(service: str, after: str, events: Sequence[Event], as_of: datetime) -> bool:
    """Apply the events that follow ``after``; False when somebody else has moved the position meanwhile."""
    position = FeedPosition.objects.select_for_update().get(service=service)
    if position.last_event_id != after:
        return False
    facts, changes = _fold(events)
    _store(facts, changes)
    FeedPosition.objects.filter(service=service).update(last_event_id=events[-1].id, caught_up_at=as_of)
    return True


def _fold(events: Sequence[Event]) -> tuple[list[Fact], Contribution]:
    """The resources' new states, and by how much the figures change."""
    known = [(event, kind) for event in events if (kind := _kind(event)) in KINDS]
    facts = _facts({(kind, int(event.subject)) for event, kind in known})
    changed: dict[tuple[str, int], Fact] = {}
    changes = Contribution()
    for event, kind in known:
        key = (kind, int(event.subject))
        old = facts.get(key)
        if old is not None and old.version >= event.data["version"]:
            continue
        state: dict[str, Any] = {**event.data, "deleted": event.type.endswith(".deleted")}
        changes.add(contribution(kind, old.state if old else None), -1)
        changes.add(contribution(kind, state), +1)
        facts[key] = changed[key] = Fact(kind=kind, resource_id=key[1], version=event.data["version"], state=state)
    return list(changed.values()), changes


def _kind(event: Event) -> str:
    word = event.type.split(".")[0]
    return _KIND_OF.get(word, word)


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
