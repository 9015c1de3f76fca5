"""Keeps the mails of development."""

import logging
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from django.conf import settings
from django.db import DatabaseError

from notification_svc.development.models import DevelopmentMail
from platform_core.api import decode, encode
from platform_core.auth import BrokenSeal, seal, unseal
from platform_core.db import prepared_atomic
from platform_core.http import PlatformError, context

KEPT = 200
"""How many mails are kept."""
LARGEST = 2**20
"""A larger mail is not kept, in bytes."""
KEEPING_SECONDS = 2.0
_PURPOSE = "mails of development"
_KEEP = f"""
    WITH kept AS (
        INSERT INTO {DevelopmentMail._meta.db_table} (created_at, user_id, sealed)
        VALUES (now(), %(user)s::bigint, %(sealed)s::text) RETURNING id
    )
    DELETE FROM {DevelopmentMail._meta.db_table} WHERE id <= (SELECT id FROM kept) - %(kept)s::bigint
"""
log = logging.getLogger("notification.development")


class Letter(msgspec.Struct, frozen=True):
    """A mail as it was sent. ``html`` is None if it is a text alone."""

    sender: str
    recipient: str
    subject: str
    text: str
    html: str | None


class Kept(NamedTuple):
    """A mail with its row."""

    row: DevelopmentMail
    letter: Letter


def is_kept() -> bool:
    """Whether this is development."""
    return bool(settings.PLATFORM_ENV == "development")


def keep(user_id: int, letter: Letter) -> None:
    """Keeps a mail in development, and removes all but the last `KEPT`. Never raises: the mail has been sent."""
    content = encode(letter)
    if not is_kept() or len(content) > LARGEST:
        return
    try:
        # The attempt's deadline may have passed meanwhile. A failure would send the mail again.
        with context.grace(KEEPING_SECONDS):
            prepared_atomic(_KEEP, {"user": user_id, "sealed": seal(_PURPOSE, content.decode()), "kept": KEPT})
    except (DatabaseError, PlatformError) as error:
        log.warning("development.mail_not_kept", extra={"data": {"error": type(error).__name__}})


def mails(recipient: str = "") -> Iterator[Kept]:
    """The mails to addresses that contain ``recipient``, newest first."""
    wanted = recipient.casefold()
    for row in DevelopmentMail.objects.all()[:KEPT]:
        letter = _letter(row)
        if letter is not None and wanted in letter.recipient.casefold():
            yield Kept(row, letter)


def mail(pk: int) -> Kept | None:
    """The mail with this number, if it is still there."""
    row = DevelopmentMail.objects.filter(pk=pk).first()
    letter = _letter(row) if row else None
    return Kept(row, letter) if row and letter else None


def _letter(row: DevelopmentMail) -> Letter | None:
    """None if SECRET_KEY has changed since."""
    try:
        return msgspec.convert(decode(unseal(_PURPOSE, row.sealed)), Letter)
    except (BrokenSeal, msgspec.MsgspecError):
        return None
