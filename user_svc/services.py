"""Use cases of user-service. Each is one transaction."""

from typing import Any

from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.db.models import BooleanField, QuerySet, Value
from django.db.models.expressions import RawSQL
from django.db.models.functions import Lower
from django.utils.timezone import now

from platform_core.events import NewEvent, append
from platform_core.models import write
from platform_core.vocabulary import EventType
from user_svc.models import Session, User

# Every word of the text, as the beginning of a word of the row; cut by Postgres in the way that it cuts the rows.
_WORDS = """(
    SELECT string_agg(quote_literal(word) || ':*', ' & ')::tsquery
    FROM unnest(array_remove(regexp_split_to_array(lower(%s), '[^[:alnum:]]+'), '')) AS word
)"""


def with_email(users: QuerySet[User], email: str) -> QuerySet[User]:
    """The account of an address, whatever its case."""
    return users.alias(lower_email=Lower("email")).filter(lower_email=Lower(Value(email)))


def search_users(users: QuerySet[User], words: str) -> QuerySet[User]:
    """All the words begin words of the name or the email."""
    return users.filter(RawSQL(f"words @@ {_WORDS}", [words], output_field=BooleanField()))  # noqa: S611  # a constant


@transaction.atomic
def create_user(*, password: str | None = None, **profile: Any) -> User:
    """Raises IntegrityError by the constraint `user_email_taken`."""
    user = User.objects.create(**profile, password=make_password(password) if password else "")
    append(NewEvent(EventType.USER_CREATED, user.pk, snapshot(user)))
    return user


@transaction.atomic
def update_user(user_id: int, expected: list[int] | None, *, kept_session: str = "", **changes: Any) -> User:
    """A new password, and a deactivation, end the user's sessions, but for ``kept_session``.

    Raises NotFound, PreconditionFailed, IntegrityError by the constraint `user_email_taken`.
    """
    if "password" in changes:
        changes["password"] = make_password(changes["password"]) if changes["password"] else ""
    write(User.objects.filter(pk=user_id), expected, **changes)
    user = User.objects.get(pk=user_id)
    if "password" in changes or not user.is_active:
        others = Session.objects.filter(user_id=user_id)
        revoke(others.exclude(pk=kept_session) if kept_session else others, "password or state changed")
    append(NewEvent(EventType.USER_UPDATED, user.pk, snapshot(user)))
    return user


def revoke(sessions: QuerySet[Session], reason: str) -> None:
    """No refresh token of theirs is good any more; access tokens last their quarter of an hour."""
    sessions.filter(revoked_at=None).update(revoked_at=now(), reason=reason)


@transaction.atomic
def make_staff(email: str, name: str, roles: list[str], password: str, *, reset: bool = False) -> bool:
    """Give the account of ``email`` its roles; ``password`` is that of a new account, or with ``reset`` of any.

    Whether the account is new.
    """
    user = with_email(User.objects.all(), email).first()
    if user is None:
        create_user(name=name, email=email, password=password, roles=roles)
        return True
    if reset or sorted(user.roles) != roles:
        update_user(user.pk, None, roles=roles, **({"password": password} if reset else {}))
    return False


@transaction.atomic
def delete_user(user_id: int, expected: list[int] | None) -> None:
    """Nothing of the person stays; orders keep the bare id. Raises NotFound, PreconditionFailed."""
    write(User.objects.filter(pk=user_id), expected)
    user = User.objects.get(pk=user_id)
    append(NewEvent(EventType.USER_DELETED, user.pk, {"version": user.version, "createdAt": user.created_at}))
    user.delete()


def snapshot(user: User) -> dict[str, Any]:
    """What other services may know of a user. Named one by one, on purpose: an event outlives the account, so nothing
    personal may be in it, and a new field of a user is not added here unless it says nothing about the person.
    """
    return {"version": user.version, "createdAt": user.created_at, "isActive": user.is_active}
