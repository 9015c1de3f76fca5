"""Persons whose data was erased. What is written about them later must leave their data out."""

from django.conf import settings
from django.db import transaction

from platform_core.db.connections import prepared
from platform_core.models import ErasedPerson


def is_erased(user_id: int) -> bool:
    """Whether the person was erased.

    The answer holds until the surrounding transaction ends: an erasure that begins meanwhile waits for it, and then
    sees what the transaction has written.
    """
    prepared("SELECT pg_advisory_xact_lock_shared(hashtextextended(%s, 0))", [_lock(user_id)])
    return bool(prepared("SELECT 1 FROM platform_core_erasedperson WHERE user_id = %s", [user_id]))


@transaction.atomic
def remember_erased(user_id: int) -> None:
    """Let `is_erased` be true from now on. Waits for the transactions that have asked it for this person."""
    prepared("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [_lock(user_id)])
    ErasedPerson.objects.get_or_create(user_id=user_id)


def _lock(user_id: int) -> str:
    return f"{settings.SERVICE.name}:person:{user_id}"
