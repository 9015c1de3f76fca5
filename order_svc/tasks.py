"""Background work of order-service: delivers its outbox and rejects orders that were left pending."""

import logging
import threading

from order_svc.services import overdue_orders, reject_overdue
from platform_core.clients import release_stock, send_notification
from platform_core.http import context
from platform_core.outbox import Handler, Handlers, Lane, OutboxMessage
from platform_core.topology import NOTIFICATION, PRODUCT
from platform_core.vocabulary import MessageKind
from platform_core.worker import HOUSEKEEPING, Duty

RECOVERY_BATCH = 100
log = logging.getLogger("order.recovery")


def _release(message: OutboxMessage) -> None:
    release_stock(message.payload["orderId"])


def _notify(message: OutboxMessage) -> None:
    send_notification(message.key, **message.payload)


HANDLERS: Handlers = {
    MessageKind.STOCK_RELEASE: Handler(_release, max_attempts=None, max_delay=600),
    MessageKind.NOTIFICATION_SEND: Handler(_notify),
}


RELEASES = Lane(PRODUCT.name, HANDLERS)
NOTIFICATIONS = Lane(NOTIFICATION.name, HANDLERS)


def recover(stopping: threading.Event) -> bool:
    """Rejects orders that have been pending for too long. A later confirmation of such an order fails."""
    overdue = overdue_orders().order_by("created_at").only("pk", "request_id", "traceparent")
    orders = list(overdue[:RECOVERY_BATCH])
    for order in orders:
        if reject_overdue(order):
            with context.entered(context.Context(order.request_id, order.traceparent)):
                log.warning("order.recovered", extra={"data": {"orderId": str(order.pk)}})
    return len(orders) == RECOVERY_BATCH


DUTIES = (
    Duty("outbox:product", RELEASES.run, pause=0.1, finish=RELEASES.finish),
    Duty("outbox:notification", NOTIFICATIONS.run, pause=0.05, finish=NOTIFICATIONS.finish),
    Duty("recovery", recover, pause=2.0),
    HOUSEKEEPING,
)
