"""What user-service holds of a person beside the account itself."""

from collections.abc import Sequence
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import QuerySet

from platform_core.privacy import PersonalData
from user_svc.models import Session, User


@transaction.atomic
def erase(user_id: int) -> bool:
    """Erases the name and address in the history of the admin, which names every account that was changed there."""
    history(user_id).update(object_repr=f"user {user_id}")
    return False


def history(user_id: int) -> QuerySet[LogEntry]:
    """The changes of an account in the admin."""
    kind = ContentType.objects.get_for_model(User)
    return LogEntry.objects.filter(content_type=kind, object_id=str(user_id))


def rows(user_id: int) -> Sequence[QuerySet[Any]]:
    """The account, its sessions, and its changes in the admin."""
    sessions = Session.objects.filter(user_id=user_id)
    return [User.objects.filter(pk=user_id), sessions, history(user_id)]


PERSONAL_DATA = PersonalData(erase, rows)
