"""Delivery of notifications, with one handler per channel. `check_handlers` refuses a channel without a handler."""

import logging
from collections.abc import Callable, Mapping
from smtplib import SMTPDataError, SMTPRecipientsRefused
from typing import Any

from django.core.checks import CheckMessage, Error
from django.core.mail import EmailMessage

from notification_svc.models import Notification
from platform_core.clients import PeerRefused, get_user
from platform_core.outbox import PermanentFailure
from platform_core.vocabulary import Channel

log = logging.getLogger("notification.delivery")


def send_email(notification: Notification) -> None:
    """Sends a mail. Raises PermanentFailure if the server will never accept it, OSError if it may accept it later.

    SMTP has no idempotency keys. After a crash between the server's answer and our commit, the mail is sent twice.
    """
    recipient = notification.recipient or _address(notification.user_id)
    mail = EmailMessage(
        subject=notification.subject or notification.type.replace("_", " ").capitalize(),
        body=notification.message,
        to=[recipient],
        headers={"X-Notification-ID": str(notification.pk)},
    )
    try:
        mail.send()
    except SMTPRecipientsRefused as refusal:
        ((code, words),) = refusal.recipients.values()
        if code >= 500:
            raise PermanentFailure(f"The mail server refuses {recipient}: {code} {words!r}") from None
        raise
    except SMTPDataError as refusal:
        if refusal.smtp_code >= 500:
            raise PermanentFailure(f"The mail server refuses the message: {refusal}") from None
        raise


def _address(user_id: int) -> str:
    try:
        return get_user(user_id).email
    except PeerRefused as refusal:
        if refusal.status == 404:
            raise PermanentFailure(f"There is no user {user_id}.") from None
        raise


def write_to_log(notification: Notification) -> None:
    data = {"notificationId": str(notification.pk), "userId": str(notification.user_id), "type": notification.type}
    log.info("notification.logged", extra={"data": {**data, "subject": notification.subject}})


HANDLERS: Mapping[str, Callable[[Notification], None]] = {
    Channel.EMAIL.value: send_email,
    Channel.LOG.value: write_to_log,
}


def deliver(notification: Notification) -> None:
    """Delivers a notification. Raises LookupError for a channel without a handler, and the handler's errors."""
    handler = HANDLERS.get(notification.channel)
    if handler is None:
        raise LookupError(f"no handler for the channel {notification.channel}")
    handler(notification)


def check_handlers(**_: Any) -> list[CheckMessage]:
    """System check: without a handler, messages of a channel would be accepted but never delivered."""
    return [
        Error(
            f"The channel {channel.value!r} has no handler.",
            hint="Add one to notification_svc.channels.HANDLERS.",
            obj=Channel,
            id="notification_svc.E001",
        )
        for channel in Channel
        if channel.value not in HANDLERS
    ]
