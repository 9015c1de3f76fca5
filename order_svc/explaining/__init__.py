"""Explains one order across all services, in plain sentences for the operator on call."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from order_svc.explaining.diagnosis import Diagnosis, diagnose
from order_svc.explaining.facts import MessageToCustomer, collect_facts
from order_svc.explaining.operations import Operation, operations
from order_svc.explaining.timeline import Moment, timeline
from order_svc.explaining.traces import LogSearch, Trace, search, traces
from order_svc.models import Order
from platform_core.clients import Reservation, User
from platform_core.outbox import OutboxMessage

__all__ = ["Explanation", "explain"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """``unknown`` lists the services that did not answer. Data that only they have is missing.

    ``account`` is the customer as user-service has them, for a page of an order that has no customer of its own.
    """

    order: Order
    as_of: datetime
    diagnosis: Diagnosis
    unknown: Sequence[str]
    timeline: Sequence[Moment]
    reservation: Reservation | None
    outbox: Sequence[OutboxMessage]
    notifications: Sequence[MessageToCustomer]
    traces: Sequence[Trace]
    logs: LogSearch
    operations: Sequence[Operation]
    account: User | None


def explain(order_id: int, *, with_people: bool = False) -> Explanation:
    """Collects and explains everything about an order.

    Costs five queries, one more for the names of staff, and at most three calls to peers. ``with_people``, for a page,
    makes at most four more to user-service, for names that are not known here.

    Lists the peers that do not answer in ``unknown``. Raises NotFound.
    """
    facts = collect_facts(order_id, with_people=with_people)
    found = traces(facts)
    return Explanation(
        order=facts.order,
        as_of=facts.as_of,
        diagnosis=diagnose(facts),
        unknown=facts.unknown,
        timeline=timeline(facts),
        reservation=facts.reservation,
        outbox=facts.messages,
        notifications=facts.notices,
        traces=found,
        logs=search(found),
        operations=operations(facts),
        account=facts.customer,
    )
