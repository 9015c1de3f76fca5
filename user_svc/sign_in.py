"""Sign-in and sign-out. Access tokens are valid until they expire; a refresh token is valid for one use."""

import hashlib
import secrets
from datetime import timedelta
from typing import NamedTuple

from django.contrib.auth.hashers import check_password, make_password
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.timezone import now

from platform_core.auth import AUDIENCE, USER_SECONDS, is_open, throttle
from platform_core.http import InvalidInput, NotAuthenticated, NotFound
from platform_core.topology import USER
from user_svc import services
from user_svc.account_mail import enqueue_reset, live_tokens
from user_svc.emails import guessed_key
from user_svc.known_addresses import is_known, remember
from user_svc.models import AccountToken, RefreshToken, Session, User
from user_svc.services import revoke, update_user, with_email
from user_svc.signing import access_token

SESSION_DAYS = 30
_QUARTER, _HOUR = 15 * 60, 3600


class Pair(NamedTuple):
    """An access token, valid for ``expires_in`` seconds, and a refresh token."""

    access: str
    refresh: str
    expires_in: int


def sign_in(email: str, password: str, address: str) -> Pair:
    """Raises NotAuthenticated `invalid_credentials`, Throttled."""
    user = verified(email, password, address)
    with transaction.atomic():
        session = begin_session(user, timedelta(days=SESSION_DAYS))
        return _pair(session, session.user)


@transaction.atomic
def begin_session(user: User, life: timedelta) -> Session:
    """Begins a session of a user whose password was `verified`. Raises NotAuthenticated."""
    # The password may have changed while the hasher ran. That ended all sessions, so no new one may start.
    same = User.objects.select_for_update().filter(pk=user.pk, password=user.password, is_active=True).first()
    if same is None:
        raise _wrong()
    return Session.objects.create(user=same, expires_at=now() + life)


def verified(email: str, password: str, address: str) -> User:
    """Returns the account if it is active and the password is right.

    All failures give the same message after the same time: the hasher also runs for an unknown address.
    Raises NotAuthenticated `invalid_credentials`, Throttled.
    """
    account = guessed_key(email)
    user = with_email(User.objects.all(), email).first() if "\0" not in email else None
    limits = _guesses(account, address)
    if is_known(user.pk if user else 0, address):
        limits = _without_account(limits)
    if not _checked(user, password, limits, account, address) or user is None:
        raise _wrong()
    remember(user, address)
    return user


def _wrong() -> NotAuthenticated:
    return NotAuthenticated("The email or the password is wrong.", code="invalid_credentials")


def _guesses(account: str, address: str) -> list[throttle.Limit]:
    return throttle.attempts("sign-in", account, address)


def _without_account(limits: list[throttle.Limit]) -> list[throttle.Limit]:
    """The limits for a known device. That of the account over all addresses is for strangers: they use it up."""
    return [limit for limit in limits if limit.name != "sign-in:account"]


def _successes(account: str, address: str) -> list[throttle.Limit]:
    """The limits of right passwords: a hash costs as much for a right one as for a wrong one."""
    limits = [throttle.Limit("sign-in:right:account", account, 200, _HOUR, is_shown=False)]
    # In development, load tests sign in thousands of users from one address.
    return limits if is_open() else [*limits, throttle.Limit("sign-in:right:address", address, 1000, _HOUR)]


def _checked(user: User | None, password: str, guesses: list[throttle.Limit], account: str, address: str) -> bool:
    """Whether the password is the user's, who is active. Counts it as a guess or as a success.

    It counts as both while the hasher runs, so that requests at once are counted. The guess comes first: one that is
    refused is no success, or strangers could use up that limit. Raises Throttled.
    """
    successes = _successes(account, address)
    with throttle.counted(guesses), throttle.counted(successes):
        is_right = _is_right(user, password) and user is not None and user.is_active
    throttle.give_back(guesses if is_right else successes)
    return is_right


def _is_right(user: User | None, password: str) -> bool:
    if user is None or not user.password:
        make_password(password)
        return False

    def rehash(raw: str) -> None:
        new = make_password(raw)
        if User.objects.filter(pk=user.pk, password=user.password).update(password=new):
            user.password = new

    return check_password(password, user.password, setter=rehash)


def refresh(token: str) -> Pair:
    """Exchanges a refresh token for a new pair. Reuse of a spent token means that it was stolen: its session ends.

    Of two concurrent requests with the same token, the row lock lets one through; the other counts as reuse.
    Raises NotAuthenticated.
    """
    with transaction.atomic():
        session = _spend(token)
        if session is not None:
            return _pair(session, session.user)
    with transaction.atomic():
        stolen = Session.objects.filter(tokens__hash=_hash(token), tokens__spent_at__isnull=False)
        revoke(stolen, "refresh token reused")
    raise NotAuthenticated("The refresh token is not valid any more. Sign in again.", error="invalid_token")


def _spend(token: str) -> Session | None:
    fresh = RefreshToken.objects.filter(hash=_hash(token), spent_at=None)
    if not fresh.update(spent_at=now()):
        return None
    rows = Session.objects.select_for_update(of=("self",)).select_related("user")
    session = rows.filter(
        tokens__hash=_hash(token), revoked_at=None, expires_at__gt=now(), user__is_active=True
    ).first()
    if session is not None:
        Session.objects.filter(pk=session.pk).update(used_at=now())
    return session


def sign_out(token: str) -> None:
    """Ends the session of a refresh token. Does nothing if the token is unknown."""
    revoke(Session.objects.filter(tokens__hash=_hash(token)), "signed out")


def change_password(user_id: int, session: str, current: str, new: str, address: str) -> None:
    """Changes the password and ends all other sessions.

    Raises InvalidInput if ``current`` is wrong or ``new`` is like the name or email, NotFound, Throttled.
    """
    user = User.objects.filter(pk=user_id, is_active=True).first()
    if user is None:
        raise NotFound()
    limits = _guesses(user.email_key, address)
    if session:
        limits = [*_without_account(limits), throttle.Limit("sign-in:session", session, 10, _QUARTER)]
    if not _checked(user, current, limits, user.email_key, address):
        raise InvalidInput.field("current", "This is not the present password.", code="invalid_credentials")
    check_strength("new", new, user)
    update_user(user_id, None, password=new, kept_session=session)


def request_reset(email: str, address: str) -> None:
    """Queues the mail for a new password. It does the same for an unknown email. Raises Throttled.

    To use up an account's limit locks nobody out: the mails that went out for it are valid for longer than the limit.
    """
    account = throttle.Limit("password-reset:account", guessed_key(email), 10, _QUARTER)
    throttle.count([account, throttle.Limit("password-reset:address", address, 100, _QUARTER)])
    enqueue_reset(email)


def reset_password(token: str, new: str, address: str) -> None:
    """Sets a new password with a mailed token, and ends all sessions. The token is spent only if that succeeds.

    Raises InvalidInput if the token cannot be used or the password is weak, Throttled.
    """
    limits = [throttle.Limit("password-reset-confirm:address", address, 100, _QUARTER)]
    with throttle.counted(limits), transaction.atomic():
        tokens = live_tokens(token, AccountToken.Purpose.RESET)
        # Of two requests with one token, the second waits here for the first, and then finds no live token.
        found = tokens.select_for_update(of=("self",)).first()
        if found is None or found.user is None:
            raise InvalidInput.field("token", "The link is not valid any more. Ask for a new one.", "invalid_token")
        check_strength("password", new, found.user)
        # Whoever has the link has the address. The new password spends the token.
        update_user(found.user.pk, None, password=new, email_verified=True)
    throttle.give_back(limits)
    remember(found.user, address)  # so that its owner can sign in while strangers keep the account's limit used up


def verify_email(token: str, address: str) -> None:
    """`services.verify_email`, with a limit for guesses. Raises Throttled, and what that raises."""
    limits = [throttle.Limit("verify-email:address", address, 100, _QUARTER)]
    throttle.count(limits)
    services.verify_email(token)
    throttle.give_back(limits)


def check_strength(field: str, password: str, user: User) -> None:
    """Raises InvalidInput of ``field`` with what Django's validators say of the password."""
    try:
        validate_password(password, user)  # type: ignore[arg-type]  # any object with these attributes
    except ValidationError as error:
        raise InvalidInput.field(field, " ".join(error.messages), code="weak_password") from None


def _pair(session: Session, user: User) -> Pair:
    token = secrets.token_urlsafe(32)
    RefreshToken.objects.create(hash=_hash(token), session=session)
    claims = {
        "iss": USER.name,
        "aud": AUDIENCE,
        "sub": str(user.pk),
        "roles": sorted(user.roles),
        "sid": str(session.pk),
        "auth_time": int(session.created_at.timestamp()),
        "jti": secrets.token_hex(8),
    }
    return Pair(access_token(claims), token, USER_SECONDS)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
