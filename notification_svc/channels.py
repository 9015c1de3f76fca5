"""Delivery of notifications, with one handler per channel. `check_handlers` refuses a channel without a handler."""

import logging
from collections.abc import Callable, Mapping
from smtplib import SMTPAuthenticationError, SMTPDataError, SMTPHeloError, SMTPRecipientsRefused, SMTPSenderRefused
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.backends.base import BaseEmailBackend

from notification_svc.development.mailbox import Letter, keep
from notification_svc.mails import rendered
from notification_svc.models import Notification
from notification_svc.services import text_of
from platform_core.auth import Kind
from platform_core.clients import CallerRefused, PeerRefused, User, get_user
from platform_core.http import context
from platform_core.outbox import DestinationUnreachable, PermanentFailure
from platform_core.vocabulary import Channel

CLOSING = 421
TOO_LARGE = 552
ACCOUNT_NEEDED = (530, 534, 535, 538)
"""Replies of RFC 4954 that refuse our account."""
NOT_KEPT = b"(the reply to a confidential message is not kept)"
log = logging.getLogger("notification.delivery")


def send_email(notification: Notification) -> str:
    """Sends a mail and returns the address that it went to. The errors say what the delivery should do:

    - PermanentFailure: the server will never accept this mail.
    - DestinationUnreachable: the server takes no mails at the moment.
    - CallerRefused: the server refuses our account or our sender's address. That is a fault of configuration.
    - any other: the server may accept this mail later.

    SMTP has no idempotency keys. After a crash between the server's answer and our commit, the mail is sent twice.
    """
    content = rendered(notification, text_of(notification))
    recipient = _recipient(notification)
    with context.grace(settings.EMAIL_ATTEMPT_SECONDS):
        connection = get_connection()
        _open(connection)
        mail = EmailMultiAlternatives(
            subject=content.subject,
            body=content.text,
            to=[recipient],
            headers={"X-Notification-ID": str(notification.pk)},
            connection=connection,
        )
        if content.html is not None:
            mail.attach_alternative(content.html, "text/html")
        try:
            mail.send()
        except SMTPHeloError as refusal:
            raise DestinationUnreachable(f"The mail server cannot be reached: {refusal}") from None
        except SMTPRecipientsRefused as refusal:
            ((code, words),) = refusal.recipients.values()
            raise _meaning(code, words, f"The mail server refuses {recipient}") or refusal from None
        except SMTPSenderRefused as refusal:
            raise _meaning_of_sender(refusal) or refusal from None
        except SMTPDataError as refusal:
            what = "The mail server refuses the message"
            if notification.sealed is not None:  # a filter's reply may quote the text
                refusal = SMTPDataError(refusal.smtp_code, NOT_KEPT)
            raise _meaning(refusal.smtp_code, refusal.smtp_error, what) or refusal from None
        finally:
            connection.close()
    keep(notification.user_id, Letter(mail.from_email, recipient, content.subject, content.text, content.html))
    return recipient


def _open(connection: BaseEmailBackend) -> None:
    """Connects and signs in. Whatever fails here concerns all mails."""
    try:
        connection.open()
    except SMTPAuthenticationError as refusal:
        if refusal.smtp_code >= 500:
            raise _refuses_us(refusal.smtp_code, refusal.smtp_error) from refusal
        raise DestinationUnreachable(f"The mail server cannot check our account: {refusal}") from refusal
    except OSError as error:
        raise DestinationUnreachable(f"The mail server cannot be reached: {error}") from error


def _meaning(code: int, words: bytes | str, what: str) -> Exception | None:
    """The error that a reply stands for; None if the server defers this mail alone."""
    text = f"{what}: {code} {words!r}"
    if code == CLOSING:
        return DestinationUnreachable(text)
    if code in ACCOUNT_NEEDED:
        return _refuses_us(code, words)
    return PermanentFailure(text) if code >= 500 else None


def _meaning_of_sender(refusal: SMTPSenderRefused) -> Exception | None:
    """A refused sender concerns all mails, except that this mail may be too large."""
    code, words = refusal.smtp_code, refusal.smtp_error
    if code >= 500 and code != TOO_LARGE:
        return _refuses_us(code, words)
    return _meaning(code, words, "The mail server refuses the message")


def _refuses_us(code: int, words: bytes | str) -> CallerRefused:
    return CallerRefused("the mail server", code, repr(words))


def _recipient(notification: Notification) -> str:
    """The address to which the mail goes. Raises PermanentFailure if the user is gone or the address unverified.

    Exempt are mails with a token, which verify an address, and those for which a person has entered one.
    """
    given = notification.recipient
    if given and (notification.sealed is not None or not notification.caller.startswith(f"{Kind.SERVICE}:")):
        return given
    user = _user(notification.user_id)
    if not user.email_verified:
        raise PermanentFailure(f"unverified_recipient: the address of user {user.id} is not verified.")
    return given or user.email


def _user(user_id: int) -> User:
    try:
        return get_user(user_id)
    except PeerRefused as refusal:
        if refusal.status == 404:
            raise PermanentFailure(f"There is no user {user_id}.") from None
        raise


def write_to_log(notification: Notification) -> str:
    """Logs a line without the text and returns the recipient as it was given."""
    data = {"notificationId": str(notification.pk), "userId": str(notification.user_id), "type": notification.type}
    log.info("notification.logged", extra={"data": {**data, "subject": notification.subject}})
    return notification.recipient


HANDLERS: Mapping[str, Callable[[Notification], str]] = {
    Channel.EMAIL.value: send_email,
    Channel.LOG.value: write_to_log,
}


def deliver(notification: Notification) -> str:
    """Delivers a notification and returns where it went.

    Raises LookupError for a channel without a handler, and the handler's errors.
    """
    handler = HANDLERS.get(notification.channel)
    if handler is None:
        raise LookupError(f"no handler for the channel {notification.channel}")
    return handler(notification)


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
