"""What may safely be done about an order as it is now."""

from dataclasses import dataclass

from order_svc.explaining.life import Life, Status
from order_svc.explaining.words import counted


@dataclass(frozen=True, slots=True)
class Operation:
    """``name`` is the last part of its path. ``loses``: what cannot be had back afterwards; asked about once more."""

    name: str
    title: str
    why: str
    loses: str = ""


def operations(life: Life) -> list[Operation]:
    """None for an order with which all is well and that has come to its end."""
    return [*_retry(life), *_reject(life), *_cancel(life)]


def _retry(life: Life) -> list[Operation]:
    waiting = counted(len(life.undelivered), "message")
    why = f"{waiting} of this order did not arrive yet. What has arrived meanwhile is not done twice."
    return [Operation("retry", "Deliver again now", why)] if life.undelivered else []


def _reject(life: Life) -> list[Operation]:
    why = "It was left pending, and no confirmation can come any more. Its stock, if any was taken, goes back."
    return [Operation("reject", "Reject now, as recovery does", why)] if life.is_overdue else []


def _cancel(life: Life) -> list[Operation]:
    if life.order.status != Status.CONFIRMED:
        return []
    loses = "It cannot be confirmed again: its stock may be sold to others, and the customer is told."
    return [Operation("cancel", "Cancel and release the stock", "The stock goes back, the customer is told.", loses)]
