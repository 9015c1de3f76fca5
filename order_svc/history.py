"""Notices that the database of order-service has lost orders, and refuses new ones until `new_epoch` has run.

A new order would get the id of a lost one, whose stock and messages exist elsewhere.
"""

from order_svc.models import Order
from platform_core.clients import PeerError, newest_reservation
from platform_core.events import loss
from platform_core.http import Unavailable
from platform_core.vocabulary import UNPLACED

TIMEOUT = 2.0
"""Seconds for the question to product-service. It is asked only after the server has changed."""


class _Acknowledged:
    """The order whose confirmation this process has acknowledged last; 0 if there is none."""

    order_id = 0


def remember(order_id: int) -> None:
    """Remember that the client was, or is about to be, told that the order is confirmed."""
    _Acknowledged.order_id = order_id


def require_history() -> None:
    """Raises Unavailable if the database has lost orders, or if that cannot be found out at the moment."""
    try:
        lost = loss()
    except PeerError as error:
        detail = f"The database server has changed, and {error.peer} does not answer whether orders were lost."
        raise Unavailable(detail) from error
    if lost:
        raise Unavailable(f"order-service takes no orders, because its database has lost some. {lost}", retry_after=60)


def lost_acknowledged_order() -> str:
    """Compares with the last confirmation of this process."""
    last = _Acknowledged.order_id
    if not last or Order.objects.filter(pk=last).exclude(status__in=UNPLACED).exists():
        return ""
    return f"Order {last} was confirmed to its customer, and is not confirmed here."


def lost_reserved_order() -> str:
    """Compares with product-service, which has a reservation for an order only after the order was committed."""
    reserved = newest_reservation(timeout=TIMEOUT)
    newest = Order.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    return f"product-service knows order {reserved}, and the newest one here is {newest}." if reserved > newest else ""
