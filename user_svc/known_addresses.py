"""The addresses from which an account has signed in, so that strangers cannot lock its owner out.

As with OWASP's device cookies, whoever comes from a known address has a limit of their own, and does not share that of
all the others who try passwords of the account.
"""

from contextlib import suppress
from datetime import timedelta
from typing import Final

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils.crypto import salted_hmac

from user_svc.models import KnownAddress, User

MOST: Final = 10
"""Addresses of one account; the oldest are forgotten."""
LIFE: Final = timedelta(days=90)


def is_known(user_id: int, address: str) -> bool:
    """Whether somebody has signed in to the account from the address within LIFE."""
    return KnownAddress.objects.filter(key=_key(user_id, address), seen_at__gt=Now() - LIFE).exists()


def remember(user: User, address: str) -> None:
    """Notes that somebody has signed in from the address. Does nothing if the user was deleted meanwhile."""
    key, mine = _key(user.pk, address), KnownAddress.objects.filter(user=user)
    if mine.filter(key=key).update(seen_at=Now()):
        return
    with suppress(IntegrityError), transaction.atomic():
        KnownAddress.objects.create(key=key, user=user, seen_at=Now())
        mine.filter(pk__in=mine.order_by("-seen_at").values("pk")[MOST:]).delete()


def _key(user_id: int, address: str) -> str:
    return salted_hmac("user_svc.known_addresses", f"{user_id} {address}", algorithm="sha256").hexdigest()
