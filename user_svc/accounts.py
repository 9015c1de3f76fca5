"""The account functions that every service needs: signing keys and staff accounts. The other services use HTTP."""

from uuid import UUID

from django.db.models.functions import Now
from django.utils.crypto import salted_hmac

from platform_core.clients import StaffAccount
from platform_core.http import NotAuthenticated
from user_svc import sign_in
from user_svc.models import Session, User
from user_svc.signing import key_set

__all__ = ["key_set", "session_is_live", "sign_staff_in", "staff_account"]


def sign_staff_in(email: str, password: str, address: str) -> StaffAccount | None:
    """Checks the credentials of a member of the staff.

    Returns None if they are wrong or belong to a customer. Raises Throttled.
    """
    try:
        return _account_of(sign_in.verified(email, password, address))
    except NotAuthenticated:
        return None


def staff_account(account_id: int) -> StaffAccount | None:
    """The account's present name and roles. Returns None if it is deleted, disabled, or a customer's."""
    return _account_of(User.objects.filter(pk=account_id, is_active=True).first())


def session_is_live(user_id: int, session: str) -> bool:
    """Whether the account is active and the session neither revoked nor expired."""
    try:
        session_id = UUID(session)
    except ValueError:
        return False
    live = Session.objects.filter(pk=session_id, user_id=user_id, user__is_active=True, revoked_at=None)
    return live.filter(expires_at__gt=Now()).exists()


def _account_of(user: User | None) -> StaffAccount | None:
    if user is None or not user.roles:
        return None
    stamp = salted_hmac("user_svc.accounts", user.password).hexdigest()[:16]
    return StaffAccount(str(user.pk), user.name, user.email, list(user.roles), stamp)
