"""Background work of notification-service: delivery, with one worker lane per channel, and webhooks."""

import threading
from collections.abc import Sequence

from notification_svc import channels, services
from notification_svc.models import Notification
from notification_svc.webhooks.consuming import Feeds
from notification_svc.webhooks.delivering import HANDLER, new_lanes
from platform_core.jobs import run_jobs
from platform_core.outbox import Handler, Handlers, Lane, OutboxMessage, PermanentFailure, close_mail_connection
from platform_core.vocabulary import MessageKind
from platform_core.worker import HOUSEKEEPING, Duty

RECIPIENT = "recipient"


def _deliver(message: OutboxMessage) -> None:
    notification = Notification.objects.get(pk=message.payload["notificationId"])
    if notification.erased_at is not None:
        raise PermanentFailure("the person was erased")
    recipient = channels.deliver(notification)
    message.payload[RECIPIENT] = recipient  # for `_store`; it is not saved


def _store(messages: Sequence[OutboxMessage]) -> set[int]:
    return services.store_sent(messages, [message.payload[RECIPIENT] for message in messages])


def _failed(message: OutboxMessage, error: str, dead: bool) -> None:
    notification_id = message.payload["notificationId"]
    services.mark_failed(notification_id, message.attempts, error, final=dead)
    if Notification.objects.filter(pk=notification_id).exclude(erased_at=None).exists():
        OutboxMessage.objects.filter(pk=message.pk).update(last_error=services.ERASED)  # it may name the address


HANDLERS: Handlers = {
    MessageKind.NOTIFICATION_DELIVER: Handler(
        _deliver, on_failure=_failed, release=close_mail_connection, store=_store
    ),
    MessageKind.WEBHOOK_DELIVER: HANDLER,
}
LANES = [
    Duty(f"deliver:{lane.destination}", lane.run, pause=0.05, finish=lane.finish)
    for lane in [Lane(channel, HANDLERS) for channel in channels.HANDLERS]
]


class _Webhooks:
    """Reads the feeds and delivers their events, in one duty with one database connection."""

    def __init__(self) -> None:
        self._feeds, self._lanes = Feeds(), new_lanes()

    def run(self, stopping: threading.Event) -> bool:
        try:
            more = self._feeds.run(stopping)
        finally:  # deliveries go on if a feed's events cannot be stored
            is_busy = self._lanes.run(stopping)
        return more or is_busy

    def finish(self) -> None:
        self._lanes.finish()
        self._feeds.finish()


_webhooks = _Webhooks()
WEBHOOKS = Duty("webhooks", _webhooks.run, pause=0.25, finish=_webhooks.finish)
DUTIES = (*LANES, WEBHOOKS, Duty("jobs", run_jobs, pause=1.0), HOUSEKEEPING)
