"""Background work of notification-service: delivery, with one worker lane per channel."""

from functools import partial

from notification_svc import channels, services
from notification_svc.models import Notification
from notification_svc.webhooks.consuming import POLL_SECONDS, SOURCES, consume
from notification_svc.webhooks.delivering import HANDLER, new_lanes
from platform_core.outbox import Handler, Handlers, Lane, OutboxMessage, close_mail_connection
from platform_core.vocabulary import MessageKind
from platform_core.worker import HOUSEKEEPING, Duty

RECIPIENT = "recipient"


def _deliver(message: OutboxMessage) -> None:
    recipient = channels.deliver(Notification.objects.get(pk=message.payload["notificationId"]))
    message.payload[RECIPIENT] = recipient  # for `_delivered`; it is not saved


def _delivered(message: OutboxMessage) -> None:
    services.mark_sent(message.payload["notificationId"], message.attempts, message.payload[RECIPIENT])


def _failed(message: OutboxMessage, error: str, dead: bool) -> None:
    services.mark_failed(message.payload["notificationId"], message.attempts, error, final=dead)


HANDLERS: Handlers = {
    MessageKind.NOTIFICATION_DELIVER: Handler(
        _deliver, on_delivered=_delivered, on_failure=_failed, release=close_mail_connection
    ),
    MessageKind.WEBHOOK_DELIVER: HANDLER,
}
LANES = [
    Duty(f"deliver:{lane.destination}", lane.run, pause=0.05, finish=lane.finish)
    for lane in [Lane(channel, HANDLERS) for channel in channels.HANDLERS]
]
_WEBHOOK_LANES = new_lanes()
WEBHOOKS = [
    Duty("webhooks:deliver", _WEBHOOK_LANES.run, pause=0.25, finish=_WEBHOOK_LANES.finish),
    *(Duty(f"webhooks:{source}", partial(consume, source), pause=POLL_SECONDS) for source in SOURCES),
]
DUTIES = (*LANES, *WEBHOOKS, HOUSEKEEPING)
