"""Use cases of user-service. Each is one transaction."""

from typing import Any

from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.db.models import BooleanField, QuerySet
from django.db.models.expressions import RawSQL
from django.utils.timezone import now

from platform_core.api import erase_answers
from platform_core.events import NewEvent, append
from platform_core.models import write
from platform_core.outbox import Message, enqueue
from platform_core.privacy import erase_person
from platform_core.topology import SERVICES, USER, Service
from platform_core.vocabulary import EventType, MessageKind
from user_svc.emails import email_key, guessed_key
from user_svc.models import Session, User

ERASURE = "erasure"
"""The destination of the commands to erase a person. One duty delivers them to all services."""
# A query that matches each word of the text as a prefix. Postgres splits the text as it splits the rows.
_WORDS = """(
    SELECT string_agg(quote_literal(word) || ':*', ' & ')::tsquery
    FROM unnest(array_remove(regexp_split_to_array(lower(%s), '[^[:alnum:]]+'), '')) AS word
)"""


def with_email(users: QuerySet[User], email: str) -> QuerySet[User]:
    """Filters users by email address, compared by its key."""
    return users.filter(email_key=guessed_key(email))


def search_users(users: QuerySet[User], words: str) -> QuerySet[User]:
    """Filters users: each of ``words`` must be a prefix of a word in the name or the email."""
    return users.filter(RawSQL(f"words @@ {_WORDS}", [words], output_field=BooleanField()))  # noqa: S611  # a constant


@transaction.atomic
def create_user(*, password: str | None = None, **profile: Any) -> User:
    """Creates a user and its event. Raises IntegrityError of the constraint `user_email_taken`."""
    user = User.objects.create(**profile, password=make_password(password) if password else "")
    append(NewEvent(EventType.USER_CREATED, user.pk, snapshot(user)))
    return user


@transaction.atomic
def update_user(user_id: int, expected: list[int] | None, *, kept_session: str = "", **changes: Any) -> User:
    """Updates a user. A new password or a deactivation ends the user's sessions, except ``kept_session``.

    Raises NotFound, PreconditionFailed, IntegrityError of the constraint `user_email_taken`.
    """
    if "password" in changes:
        changes["password"] = make_password(changes["password"]) if changes["password"] else ""
    if "email" in changes:
        changes["email_key"] = email_key(changes["email"])
    write(User.objects.filter(pk=user_id), expected, **changes)
    user = User.objects.get(pk=user_id)
    if "password" in changes or not user.is_active:
        others = Session.objects.filter(user_id=user_id)
        revoke(others.exclude(pk=kept_session) if kept_session else others, "password or state changed")
    append(NewEvent(EventType.USER_UPDATED, user.pk, snapshot(user)))
    return user


def revoke(sessions: QuerySet[Session], reason: str) -> None:
    """Revokes sessions and their refresh tokens. Access tokens stay valid for up to 15 minutes."""
    sessions.filter(revoked_at=None).update(revoked_at=now(), reason=reason)


@transaction.atomic
def make_staff(email: str, name: str, roles: list[str], password: str, *, reset: bool = False) -> bool:
    """Sets the roles of an account and creates it if it is missing. Returns whether it was created.

    ``password`` is for a new account; with ``reset`` it also replaces the password of an existing one.
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
    """Deletes a user with all personal data, also in stored answers, and tells the other services to erase theirs.

    Raises NotFound, PreconditionFailed.
    """
    write(User.objects.filter(pk=user_id), expected)
    user = User.objects.get(pk=user_id)
    append(NewEvent(EventType.USER_DELETED, user.pk, {"version": user.version, "createdAt": user.created_at}))
    user.delete()
    erase_answers(f"/api/users/{user_id}")
    erase_person(user_id)
    enqueue(*(erasure(user_id, service) for service in SERVICES if service is not USER))


def erasure(user_id: int, service: Service) -> Message:
    """The command that erases a person at a service. Each is an aggregate of its own: none waits for another."""
    return Message(
        kind=MessageKind.PERSON_ERASE,
        destination=ERASURE,
        aggregate=f"person:{user_id}:{service.stem}",
        key=f"person-{user_id}-erase-{service.stem}",
        payload={"userId": user_id, "service": service.name},
    )


def snapshot(user: User) -> dict[str, Any]:
    """The user as its events carry it.

    Events outlive the account, so they must hold no personal data. The fields are listed one by one for this reason:
    a new field of a user is added here only if it is not personal.
    """
    return {"version": user.version, "createdAt": user.created_at, "isActive": user.is_active}
