"""Background work of notification-service: delivery, one lane for each channel."""

import logging
import threading

from notification_svc import services
from notification_svc.models import Notification
from platform_core.clients.errors import PeerRefused
from platform_core.clients.users import get_user
from platform_core.housekeeping import HOUSEKEEPING
from platform_core.outbox.delivery import deliver_due
from platform_core.outbox.models import OutboxMessage
from platform_core.outbox.queue import Handler, PermanentFailure
from platform_core.worker import Duty

log = logging.getLogger("notification.delivery")


def _deliver(message: OutboxMessage) -> None:
    """Between the mail server's yes and our own commit a crash sends the mail again: SMTP knows no keys."""
    notification = Notification.objects.get(pk=message.payload["notificationId"])
    if notification.channel == Notification.Channel.EMAIL:
        services.send_email(notification, notification.recipient or _address(notification.user_id))
    else:
        data = {"notificationId": str(notification.pk), "userId": str(notification.user_id), "type": notification.type}
        log.info("notification.logged", extra={"data": {**data, "subject": notification.subject}})


def _address(user_id: int) -> str:
    try:
        return get_user(user_id).email
    except PeerRefused as refusal:
        if refusal.status == 404:
            raise PermanentFailure(f"There is no user {user_id}.") from None
        raise


def _delivered(message: OutboxMessage) -> None:
    services.mark_sent(message.payload["notificationId"], message.attempts)


def _failed(message: OutboxMessage, error: str, dead: bool) -> None:
    services.mark_failed(message.payload["notificationId"], message.attempts, error, final=dead)


HANDLERS = {"notification.deliver": Handler(_deliver, on_delivered=_delivered, on_failure=_failed)}


def deliver_email(stopping: threading.Event) -> bool:
    return deliver_due(Notification.Channel.EMAIL, HANDLERS, stopping)


def deliver_log(stopping: threading.Event) -> bool:
    return deliver_due(Notification.Channel.LOG, HANDLERS, stopping)


DUTIES = (
    Duty("deliver:email", deliver_email, pause=0.05),
    Duty("deliver:log", deliver_log, pause=0.1),
    HOUSEKEEPING,
)
