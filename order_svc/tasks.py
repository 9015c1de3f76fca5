"""Background work of order-service: delivers its outbox, rejects orders that were left pending, runs jobs."""

import logging
import threading
from functools import partial

from order_svc.models import Order
from order_svc.services import RECOVERY, addressing, overdue_orders, reject_overdue, reserve_again
from platform_core.clients import PeerRefused, release_stock, send_notification
from platform_core.db import attempt_item, due_items
from platform_core.http import context
from platform_core.jobs import run_jobs
from platform_core.outbox import Handler, Handlers, Lane, OutboxMessage
from platform_core.topology import NOTIFICATION, PRODUCT
from platform_core.vocabulary import MessageKind
from platform_core.worker import HOUSEKEEPING, Duty

RECOVERY_BATCH = 100
log = logging.getLogger("order.recovery")


def _release(message: OutboxMessage) -> None:
    release_stock(message.payload["orderId"])


def _reserve(message: OutboxMessage) -> None:
    reserve_again(message.payload["orderId"])


def _notify(message: OutboxMessage) -> None:
    addressed = addressing(int(message.aggregate.partition(":")[2]))
    try:
        send_notification(message.key, **message.payload, **addressed)
    except PeerRefused as refusal:
        # The person was erased after an attempt that had arrived, and notification-service does not know it yet.
        if addressed or refusal.code != "idempotency_key_reused":
            raise


HANDLERS: Handlers = {
    MessageKind.STOCK_RELEASE: Handler(_release, max_attempts=None, max_delay=600),
    MessageKind.STOCK_RESERVE: Handler(_reserve),
    MessageKind.NOTIFICATION_SEND: Handler(_notify),
}


RELEASES = Lane(PRODUCT.name, HANDLERS)
NOTIFICATIONS = Lane(NOTIFICATION.name, HANDLERS)


def recover(stopping: threading.Event) -> bool:
    """Rejects orders that have been pending for too long. A later confirmation of such an order fails.

    An order that cannot be rejected is retried with growing delays, and then parked; the others are not held up.
    """
    overdue = due_items(RECOVERY, overdue_orders()).order_by("created_at").only("pk", "request_id", "traceparent")
    orders = list(overdue[:RECOVERY_BATCH])
    for order in orders:
        with context.entered(context.Context(order.request_id, order.traceparent)):
            attempt_item(RECOVERY, order.pk, partial(_recover, order))
    return len(orders) == RECOVERY_BATCH


def _recover(order: Order) -> None:
    if reject_overdue(order):
        log.warning("order.recovered", extra={"data": {"orderId": str(order.pk)}})


DUTIES = (
    Duty("outbox:product", RELEASES.run, pause=0.1, finish=RELEASES.finish),
    Duty("outbox:notification", NOTIFICATIONS.run, pause=0.05, finish=NOTIFICATIONS.finish),
    Duty(RECOVERY, recover, pause=2.0),
    Duty("jobs", run_jobs, pause=1.0),
    HOUSEKEEPING,
)
