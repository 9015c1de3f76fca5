"""Background work of notification-service: delivery, with one worker lane per channel."""

from functools import partial

from notification_svc import channels, services
from notification_svc.models import Notification
from platform_core.outbox import Handler, Handlers, OutboxMessage, deliver_due
from platform_core.vocabulary import MessageKind
from platform_core.worker import HOUSEKEEPING, Duty


def _deliver(message: OutboxMessage) -> None:
    channels.deliver(Notification.objects.get(pk=message.payload["notificationId"]))


def _delivered(message: OutboxMessage) -> None:
    services.mark_sent(message.payload["notificationId"], message.attempts)


def _failed(message: OutboxMessage, error: str, dead: bool) -> None:
    services.mark_failed(message.payload["notificationId"], message.attempts, error, final=dead)


HANDLERS: Handlers = {
    MessageKind.NOTIFICATION_DELIVER: Handler(_deliver, on_delivered=_delivered, on_failure=_failed),
}
LANES = [
    Duty(f"deliver:{channel}", partial(deliver_due, channel, HANDLERS), pause=0.05) for channel in channels.HANDLERS
]
DUTIES = (*LANES, HOUSEKEEPING)
