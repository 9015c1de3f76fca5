"""Orders for the search of the back office: by number, by request id, and by the Idempotency-Key."""

from collections.abc import Iterator

from django.urls import reverse

from order_svc.models import Order
from platform_core.clients import Match
from platform_core.office import Sought

MOST = 10


def find_orders(sought: Sought) -> Iterator[Match]:
    """The orders with this number, or that were placed by this request or with this key. One index scan each."""
    lookups: list[dict[str, object]] = [{"request_id": sought.text}, {"idempotency_key": sought.text}]
    if sought.number is not None:
        lookups.insert(0, {"pk": sought.number})
    for lookup in lookups:
        for order in Order.objects.filter(**lookup).only("status", "total", "currency", "created_at").order_by()[:MOST]:
            total = "" if order.total is None else f", {order.total} {order.currency}"
            detail = f"{order.status}{total}, placed {order.created_at:%Y-%m-%d %H:%M} UTC"
            yield Match("order", f"Order {order.pk}", detail, reverse("order-page", args=[order.pk]))
