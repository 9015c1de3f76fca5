"""The life of one order across the services, in words that somebody understands who was just woken up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from order_svc.explaining.life import MessageToCustomer, look
from order_svc.explaining.operations import Operation, operations
from order_svc.explaining.timeline import Moment, timeline
from order_svc.explaining.traces import LogSearch, Trace, search, traces
from order_svc.explaining.verdict import Verdict, verdict
from order_svc.models import Order
from platform_core.clients import Reservation
from platform_core.outbox import OutboxMessage

__all__ = ["Explanation", "explain"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """``unknown`` names the services that did not answer; what only they know is missing."""

    order: Order
    as_of: datetime
    verdict: Verdict
    unknown: Sequence[str]
    timeline: Sequence[Moment]
    reservation: Reservation | None
    outbox: Sequence[OutboxMessage]
    notifications: Sequence[MessageToCustomer]
    traces: Sequence[Trace]
    logs: LogSearch
    operations: Sequence[Operation]


def explain(order_id: int) -> Explanation:
    """Four queries and at most three calls. A peer that does not answer is named. Raises NotFound."""
    life = look(order_id)
    found = traces(life)
    return Explanation(
        order=life.order,
        as_of=life.as_of,
        verdict=verdict(life),
        unknown=life.unknown,
        timeline=timeline(life),
        reservation=life.reservation,
        outbox=life.messages,
        notifications=life.told,
        traces=found,
        logs=search(found),
        operations=operations(life),
    )
