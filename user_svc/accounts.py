"""The account functions that every service needs: signing keys and staff accounts. The other services use HTTP."""

import secrets
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils.crypto import salted_hmac
from msgspec.structs import asdict

from platform_core.clients import SessionEnded, StaffAccount, StaffSignIn
from platform_core.http import NotAuthenticated, Unprocessable
from platform_core.topology import USER, Service
from user_svc import sign_in
from user_svc.models import Session, User
from user_svc.services import revoke
from user_svc.signing import key_set, ticket

__all__ = ["end_staff_session", "key_set", "session_is_live", "sign_on_ticket", "sign_staff_in", "staff_account"]


def sign_staff_in(email: str, password: str, address: str) -> StaffSignIn | None:
    """Checks the credentials of a member of the staff, and begins a session that lasts as long as the admin's.

    Returns None if they are wrong. Raises Unprocessable `no_role` for a customer's account, Throttled.
    """
    try:
        user = sign_in.verified(email, password, address)
        account = _account_of(user)
        if account is None:
            raise Unprocessable(
                "This is a customer's account: it has no role, so it opens no admin. An admin can give it one.",
                code="no_role",
            )
        session = sign_in.begin_session(user, timedelta(seconds=settings.SESSION_COOKIE_AGE))
    except NotAuthenticated:
        return None
    return StaffSignIn(**asdict(account), session=str(session.pk))


def staff_account(account_id: int, session: str = "") -> StaffAccount | None:
    """The account's present name and roles. Returns None if it is deleted, disabled, or a customer's.

    With the id of a ``session``, raises SessionEnded if that is not a live session of the account.
    """
    account = _account_of(User.objects.filter(pk=account_id, is_active=True).first())
    if account is not None and session and not session_is_live(account_id, session):
        raise SessionEnded
    return account


def end_staff_session(account_id: int, session: str) -> None:
    """Ends a session of the account. Does nothing if it has none with this id."""
    revoke(_sessions(account_id, session), "signed out")


def session_is_live(user_id: int, session: str) -> bool:
    """Whether the account is active and the session neither revoked nor expired."""
    return _live(user_id, session).exists()


def sign_on_ticket(account_id: int, session: str, service: Service, state: str, following: str) -> str | None:
    """A ticket that signs the account on at ``service``, for the browser that has ``state`` there.

    ``following`` is the path to show then. Returns None if the session is not a live one of a staff account.
    """
    live = _live(account_id, session).select_related("user").first()
    if live is None or not live.user.roles:
        return None
    claims: dict[str, Any] = {
        "iss": USER.name,
        "aud": service.name,
        "sub": str(account_id),
        "sid": session,
        "until": int(live.expires_at.timestamp()),
        "state": state,
        "next": following,
        "jti": secrets.token_hex(16),
    }
    return ticket(claims)


def _live(user_id: int, session: str) -> QuerySet[Session]:
    return _sessions(user_id, session).filter(user__is_active=True, revoked_at=None, expires_at__gt=Now())


def _sessions(user_id: int, session: str) -> QuerySet[Session]:
    try:
        return Session.objects.filter(pk=UUID(session), user_id=user_id)
    except ValueError:
        return Session.objects.none()


def _account_of(user: User | None) -> StaffAccount | None:
    if user is None or not user.roles:
        return None
    stamp = salted_hmac("user_svc.accounts", user.password).hexdigest()[:16]
    return StaffAccount(str(user.pk), user.name, user.email, list(user.roles), stamp)
