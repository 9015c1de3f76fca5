"""Mails with a token that opens something: the token's life, and the mail that carries it.

Neither token nor link can be read in a table. `AccountToken` has the token's hash. The outbox message is encrypted
until notification-service has taken it, and so is the message there until it is delivered; both are then erased.
"""

import hashlib
import json
import logging
import secrets
import uuid
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final, NamedTuple

from django.conf import settings
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from platform_core.auth import BrokenSeal, seal, unseal
from platform_core.clients import send_notification
from platform_core.outbox import Message, OutboxMessage, PermanentFailure, enqueue
from platform_core.topology import NOTIFICATION
from platform_core.vocabulary import MessageKind
from user_svc.emails import guessed_key
from user_svc.models import AccountToken, User

RESET_LIFE: Final = timedelta(hours=1)
_PURPOSE = "account mails"
_RESET = """\
Somebody asked for a new password for your account. If it was you, choose one here within an hour:

{link}

If it was not you, you need not do anything: your password stays as it is."""
log = logging.getLogger("user.account_mail")


class Letter(NamedTuple):
    """What the outbox message holds, encrypted."""

    purpose: str
    token: str
    email: str


def enqueue_mail(purpose: AccountToken.Purpose, email: str) -> None:
    """Queues a mail with a new token, in the surrounding transaction.

    It looks nothing up: whether the address belongs to an account is found out by the worker, so the caller cannot
    measure it.
    """
    letter = Letter(purpose.value, secrets.token_urlsafe(32), email)
    key = f"account-mail-{uuid.uuid4()}"
    payload = {"sealed": seal(_PURPOSE, json.dumps(letter))}
    enqueue(Message(MessageKind.ACCOUNT_MAIL, NOTIFICATION.name, key, key, payload))


def deliver_mail(message: OutboxMessage) -> None:
    """Hands the mail of an outbox message to notification-service, if it is for an account.

    Raises PermanentFailure if the message cannot be decrypted, and the errors of the client.
    """
    try:
        letter = Letter(*json.loads(unseal(_PURPOSE, message.payload["sealed"])))
    except KeyError:
        raise PermanentFailure("The mail has been erased.") from None
    except BrokenSeal as error:
        raise PermanentFailure(f"The mail {error}.") from None
    _SENDERS[letter.purpose](message, letter)


def erase_mail(message: OutboxMessage) -> None:
    """Erases the encrypted content of a message that was delivered or given up."""
    OutboxMessage.objects.filter(pk=message.pk).update(payload={})


def live_tokens(token: str, purpose: AccountToken.Purpose) -> QuerySet[AccountToken]:
    """The row of a token that can still be used.

    There is none if it is unknown, used or expired, if the account is disabled, or if its address is another by now.
    """
    rows = AccountToken.objects.filter(hash=_hash(token), purpose=purpose, used_at=None, expires_at__gt=Now())
    return rows.filter(user__is_active=True, email_key=F("user__email_key"))


def _send_reset(message: OutboxMessage, letter: Letter) -> None:
    user = User.objects.filter(is_active=True, email_key=guessed_key(letter.email)).first()
    if user is None:
        return
    expires_at = message.created_at + RESET_LIFE
    values = {"purpose": letter.purpose, "user": user, "email_key": user.email_key, "expires_at": expires_at}
    AccountToken.objects.get_or_create(hash=_hash(letter.token), defaults=values)
    if not live_tokens(letter.token, AccountToken.Purpose.RESET).exists():
        log.warning("account_mail.too_late", extra={"data": {"key": message.key, "userId": str(user.pk)}})
        return
    text = _RESET.format(link=_link("reset-password", letter.token))
    send_notification(
        message.key,
        user_id=user.pk,
        type="password_reset",
        subject="Choose a new password",
        message=text,
        recipient=user.email,
        confidential=True,
    )


_SENDERS: Mapping[str, Callable[[OutboxMessage, Letter], None]] = {AccountToken.Purpose.RESET.value: _send_reset}


def _link(page: str, token: str) -> str:
    """The token is in the fragment, which browsers send to no server, so it is in no access log and no Referer."""
    return f"{settings.ACCOUNT_LINKS_URL}/{page}#token={token}"


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
