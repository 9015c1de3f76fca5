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
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from platform_core.auth import BrokenSeal, seal, unseal
from platform_core.clients import send_notification
from platform_core.outbox import Message, OutboxMessage, PermanentFailure, enqueue
from platform_core.topology import NOTIFICATION
from platform_core.vocabulary import MessageKind
from user_svc.emails import email_key, guessed_key
from user_svc.models import AccountToken, User

RESET_LIFE: Final = timedelta(hours=1)
VERIFY_LIFE: Final = timedelta(hours=24)
_PURPOSE = "account mails"
_RESET = """\
Somebody asked for a new password for your account. If it was you, choose one here within an hour:

{link}

If it was not you, you need not do anything: your password stays as it is."""
# Nothing in these texts comes from the sender of the request: strangers may get them.
_VERIFY = """\
This address was given for an account. If it was you, confirm it here within a day:

{link}

If it was not you, do not follow the link, and nothing happens."""
_TAKEN = """\
Somebody wanted to open an account with your address, but you have one already.

If it was you, sign in, or ask for a new password. If it was not you, you need not do anything."""
log = logging.getLogger("user.account_mail")


class Letter(NamedTuple):
    """What the outbox message holds, encrypted."""

    purpose: str
    token: str
    email: str


def enqueue_reset(email: str) -> None:
    """Queues the mail for a new password, in the surrounding transaction.

    It looks nothing up: whether the address belongs to an account is found out by the worker, so the caller cannot
    measure it.
    """
    _enqueue(Letter(AccountToken.Purpose.RESET.value, secrets.token_urlsafe(32), email))


def enqueue_verification(user_id: int, email: str) -> None:
    """Queues the mail that verifies an address of a user. Earlier ones for another address become worthless."""
    earlier = AccountToken.objects.filter(user_id=user_id, purpose=AccountToken.Purpose.VERIFY, used_at=None)
    earlier.exclude(email=email).update(used_at=Now())
    _enqueue_with_row(AccountToken.Purpose.VERIFY, email, user_id=user_id)


def enqueue_sign_up(email: str, profile: dict[str, Any]) -> None:
    """Queues the mail with which an account begins. Like `enqueue_reset`, it does not look for the address."""
    _enqueue_with_row(AccountToken.Purpose.SIGN_UP, email, profile=profile)


def _enqueue_with_row(purpose: AccountToken.Purpose, email: str, **values: Any) -> None:
    letter = Letter(purpose.value, secrets.token_urlsafe(32), email)
    values |= {"purpose": purpose, "email": email, "email_key": email_key(email), "expires_at": Now() + VERIFY_LIFE}
    AccountToken.objects.create(hash=_hash(letter.token), **values)
    _enqueue(letter)


def _enqueue(letter: Letter) -> None:
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


def live_tokens(token: str, *purposes: AccountToken.Purpose) -> QuerySet[AccountToken]:
    """The row of a token that can still be used.

    There is none if it is unknown, used or expired, if the account is disabled, or if the address that it was sent to
    is not the account's any more.
    """
    rows = AccountToken.objects.filter(
        hash=_hash(token), purpose__in=purposes, used_at=None, expires_at__gt=Now()
    ).select_related("user")
    is_mine = Q(email=F("user__pending_email")) | Q(email=F("user__email"), user__email_verified=False)
    is_mine &= Q(purpose=AccountToken.Purpose.VERIFY)
    is_mine |= Q(purpose=AccountToken.Purpose.RESET, email=F("user__email"))
    return rows.filter(Q(user=None) | (Q(user__is_active=True) & is_mine))


def _send_reset(message: OutboxMessage, letter: Letter) -> None:
    user = User.objects.filter(is_active=True, email_key=guessed_key(letter.email)).first()
    if user is None:
        return
    expires_at = message.created_at + RESET_LIFE
    values = {"user": user, "email": user.email, "email_key": user.email_key, "expires_at": expires_at}
    AccountToken.objects.get_or_create(hash=_hash(letter.token), defaults={**values, "purpose": letter.purpose})
    if _live(message, letter):
        text = _RESET.format(link=_link("reset-password", letter.token))
        _send(message, user.pk, "password_reset", "Choose a new password", text, user.email)


def _send_verification(message: OutboxMessage, letter: Letter) -> None:
    row = _live(message, letter)
    if row is not None and row.user_id is not None:
        text = _VERIFY.format(link=_link("verify-email", letter.token))
        _send(message, row.user_id, "verify_email", "Confirm your address", text, row.email)


def _send_sign_up(message: OutboxMessage, letter: Letter) -> None:
    """To the owner of an account that has the address, the mail says so, and has no token."""
    row = _live(message, letter)
    if row is None:
        return
    owner = User.objects.filter(email_key=row.email_key).first()
    if owner is None:
        text = _VERIFY.format(link=_link("verify-email", letter.token))
        _send(message, row.profile["id"], "verify_email", "Confirm your address", text, row.email)
        return
    send_notification(
        f"{message.key}-taken",
        user_id=owner.pk,
        type="sign_up_repeated",
        subject="You have an account already",
        message=_TAKEN,
    )
    AccountToken.objects.filter(pk=row.pk).update(used_at=Now(), profile={})


def _send(message: OutboxMessage, user_id: int, type: str, subject: str, text: str, recipient: str) -> None:
    send_notification(
        message.key,
        user_id=user_id,
        type=type,
        subject=subject,
        message=text,
        recipient=recipient,
        confidential=True,
    )


_SENDERS: Mapping[str, Callable[[OutboxMessage, Letter], None]] = {
    AccountToken.Purpose.RESET.value: _send_reset,
    AccountToken.Purpose.VERIFY.value: _send_verification,
    AccountToken.Purpose.SIGN_UP.value: _send_sign_up,
}


def _live(message: OutboxMessage, letter: Letter) -> AccountToken | None:
    """The row of the letter's token; None, with a line in the log, if it cannot be used any more."""
    row = live_tokens(letter.token, AccountToken.Purpose(letter.purpose)).first()
    if row is None:
        log.warning("account_mail.too_late", extra={"data": {"key": message.key, "purpose": letter.purpose}})
    return row


def _link(page: str, token: str) -> str:
    """The token is in the fragment, which browsers send to no server, so it is in no access log and no Referer."""
    return f"{settings.ACCOUNT_LINKS_URL}/{page}#token={token}"


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
