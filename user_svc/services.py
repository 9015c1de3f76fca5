"""Use cases of user-service. Each is one transaction."""

from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.db.models import F, QuerySet, Value
from django.db.models.functions import Now
from django.utils.timezone import now

from platform_core.api import erase_answers
from platform_core.db import Beginnings, Matches, new_ids
from platform_core.events import NewEvent, append
from platform_core.http import Conflict, InvalidInput
from platform_core.models import write
from platform_core.outbox import Message, enqueue
from platform_core.privacy import erase_person
from platform_core.topology import NOTIFICATION, SERVICES, USER, Service
from platform_core.vocabulary import EventType, MessageKind
from user_svc.account_mail import enqueue_sign_up, enqueue_verification, live_tokens
from user_svc.emails import email_key, guessed_key
from user_svc.models import AccountToken, Session, User

ERASURE = "erasure"
"""The destination of the commands to erase a person. One duty delivers them to all services."""


def with_email(users: QuerySet[User], email: str) -> QuerySet[User]:
    """Filters users by email address, compared by its key."""
    return users.filter(email_key=guessed_key(email))


def search_users(users: QuerySet[User], words: str) -> QuerySet[User]:
    """Filters users: each of ``words`` must be a prefix of a word in name or email. Case and accents do not matter."""
    return users.filter(Matches(F("words"), Beginnings(Value(words))))


@transaction.atomic
def create_user(*, password: str | None = None, **profile: Any) -> User:
    """Creates a user and its event. Raises IntegrityError of the constraint `user_email_taken`.

    With EMAIL_VERIFICATION, a link is mailed to the address, unless the caller sets ``email_verified``.
    """
    profile.setdefault("email_verified", not settings.EMAIL_VERIFICATION)
    return _create(**profile, password=make_password(password) if password else "")


def _create(**columns: Any) -> User:
    user = User.objects.create(**columns)
    append(NewEvent(EventType.USER_CREATED, user.pk, snapshot(user)))
    if not user.email_verified:
        enqueue_verification(user.pk, user.email)
    return user


@transaction.atomic
def sign_up_by_mail(*, email: str, password: str | None = None, **profile: Any) -> None:
    """Mails a link with which the account begins (`verify_email`).

    It does the same for an address that is taken; then the mail says so. The id is reserved now, because the mail, like
    every notification, belongs to a user id.
    """
    hashed = make_password(password) if password else ""
    (pk,) = new_ids(User, 1)
    enqueue_sign_up(email, {**profile, "id": pk, "email": email, "password": hashed})


@transaction.atomic
def verify_email(token: str) -> None:
    """Begins the account, or makes the address the account's, for which the token was mailed.

    Raises InvalidInput if the token cannot be used, IntegrityError of the constraint `user_email_taken`.
    """
    purposes = AccountToken.Purpose.VERIFY, AccountToken.Purpose.SIGN_UP
    row = live_tokens(token, *purposes).select_for_update(of=("self",)).first()
    if row is None:
        raise InvalidInput.field("token", "The link is not valid any more.", "invalid_token")
    if row.user_id is None:
        _create(**row.profile, email_verified=True)
        # Of several sign-ups with one address, the account is that of the first link that is followed.
        spent = AccountToken.objects.filter(purpose=AccountToken.Purpose.SIGN_UP, email_key=row.email_key)
        others = [other.profile["id"] for other in spent.exclude(pk=row.pk) if other.profile]
        enqueue(*(erasure(reserved, NOTIFICATION) for reserved in others))
    else:
        update_user(row.user_id, None, email=row.email, email_verified=True)
        spent = AccountToken.objects.filter(purpose=AccountToken.Purpose.VERIFY, user=row.user_id)
    spent.update(used_at=Now(), profile={})


@transaction.atomic
def update_user(user_id: int, expected: list[int] | None, *, kept_session: str = "", **changes: Any) -> User:
    """Updates a user. A new password or a deactivation ends the user's sessions, except ``kept_session``.

    With a new password, tokens that were mailed before can no longer be used. With EMAIL_VERIFICATION, a new address is
    pending until its link is followed, unless the caller sets ``email_verified``.
    Raises NotFound, PreconditionFailed, Conflict or IntegrityError of the constraint `user_email_taken`.
    """
    if "password" in changes:
        changes["password"] = make_password(changes["password"]) if changes["password"] else ""
    if settings.EMAIL_VERIFICATION and "email" in changes and "email_verified" not in changes:
        email = changes.pop("email")
        changes |= {"pending_email": email} if _is_new(user_id, email) else {}
    if "email" in changes:
        changes |= {"email_key": email_key(changes["email"]), "pending_email": None}
    write(User.objects.filter(pk=user_id), expected, **changes)
    if changes.get("pending_email"):
        enqueue_verification(user_id, changes["pending_email"])
    user = User.objects.get(pk=user_id)
    if "password" in changes or not user.is_active:
        others = Session.objects.filter(user_id=user_id)
        revoke(others.exclude(pk=kept_session) if kept_session else others, "password or state changed")
    if "password" in changes:
        AccountToken.objects.filter(user_id=user_id, used_at=None).update(used_at=Now())
    append(NewEvent(EventType.USER_UPDATED, user.pk, snapshot(user)))
    return user


def forget_token(token: AccountToken) -> None:
    """Deletes an expired token, and the address that was pending because of it.

    If an account was to begin with it, notification-service erases the mail to the account's reserved id.
    """
    token.delete()
    if reserved := token.profile.get("id"):
        enqueue(erasure(reserved, NOTIFICATION))
    if token.user_id is None:
        return
    others = AccountToken.objects.filter(user=token.user_id, email=token.email, purpose=AccountToken.Purpose.VERIFY)
    if User.objects.filter(pk=token.user_id, pending_email=token.email).exists() and not others.exists():
        update_user(token.user_id, None, pending_email=None)


def _is_new(user_id: int, email: str) -> bool:
    """Whether the address is another than the user's own. Raises Conflict `email_taken` if it is another user's."""
    if User.objects.filter(email_key=email_key(email)).exclude(pk=user_id).exists():
        raise Conflict("Another user has this email address.", code="email_taken")
    return not User.objects.filter(pk=user_id, email=email).exists()


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
        create_user(name=name, email=email, password=password, roles=roles, email_verified=True)
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
    AccountToken.objects.filter(email_key=user.email_key).delete()
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
