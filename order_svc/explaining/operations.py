"""The operations that are safe for an order in its present status."""

from dataclasses import dataclass

from order_svc.explaining.facts import Facts, Status
from order_svc.explaining.formatting import counted


@dataclass(frozen=True, slots=True)
class Operation:
    """``name`` is the last part of the URL path. ``loses`` says what cannot be undone; the page asks to confirm it.

    ``is_main``: the next step of the order, which the page shows first.
    """

    name: str
    title: str
    why: str
    loses: str = ""
    is_main: bool = False


def operations(facts: Facts) -> list[Operation]:
    """The operations that are possible now. The list is empty for an order that has ended without any problem."""
    return [*_ship(facts), *_deliver(facts), *_retry(facts), *_reject(facts), *_cancel(facts)]


def _ship(facts: Facts) -> list[Operation]:
    if facts.order.status != Status.CONFIRMED:
        return []
    why = "The customer is notified that the order is on its way. After that it cannot be cancelled."
    return [Operation("ship", "Mark as shipped", why, is_main=True)]


def _deliver(facts: Facts) -> list[Operation]:
    if facts.order.status != Status.SHIPPED:
        return []
    return [Operation("deliver", "Mark as delivered", "The order is done then. No mail is sent.", is_main=True)]


def _retry(facts: Facts) -> list[Operation]:
    waiting = counted(len(facts.undelivered), "message")
    why = f"{waiting} of this order did not arrive yet. A message that has already arrived is not processed twice."
    return [Operation("retry", "Deliver again now", why)] if facts.undelivered else []


def _reject(facts: Facts) -> list[Operation]:
    why = "The order is still pending and can no longer be confirmed. If stock was reserved, it is released."
    return [Operation("reject", "Reject now, as recovery does", why)] if facts.is_overdue else []


def _cancel(facts: Facts) -> list[Operation]:
    if facts.order.status != Status.CONFIRMED:
        return []
    loses = "A cancelled order cannot be confirmed again: its stock may be sold to others. The customer is notified."
    why = "The stock is released and the customer is notified."
    return [Operation("cancel", "Cancel and release the stock", why, loses)]
