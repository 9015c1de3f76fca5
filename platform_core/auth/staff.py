"""Admin sign-on: an account of user-service with a role opens the admins of all five services.

Each service stores a copy of the account (its "shadow") as an `auth.User` row without a password, because Django's
sessions and history need one. When user-service is down, a superuser made with `createsuperuser` can still sign in.

The session of a shadow also holds the id of a session at user-service, and ends with it. All admins in which one
browser has signed in with one sign-in (`platform_core.auth.sign_on`) have the same one.
"""

import os
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.backends import BaseBackend, ModelBackend
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject
from django.utils.module_loading import import_string
from unfold.forms import AuthenticationForm

from platform_core.auth.identity import Identity, Kind, known_roles
from platform_core.auth.rules import admin_pages_of
from platform_core.auth.throttle import address_of, attempts, counted, give_back
from platform_core.clients.errors import CallerRefused, PeerError, PeerRefused
from platform_core.clients.users import SessionEnded, StaffAccount, StaffSignIn
from platform_core.db.erased import is_erased
from platform_core.http import context
from platform_core.http.errors import PlatformError
from platform_core.vocabulary import Role

PREFIX = "staff:"
"""Prefix of a shadow's username. Local accounts cannot have it, because Django's usernames contain no colon."""
FRESH_SECONDS = 60.0
"""Seconds for which a process caches an account's roles, and that a session goes on."""
REFRESH_SECONDS = 1.0
"""Timeout in seconds of the call that refreshes them."""
SESSION = "platform_session"
"""The key in a Django session for the id of the session at user-service."""
_REMEMBERED = 1024
"""Size of the cache. A full one is emptied."""
_asked: dict[tuple[int, int, str], float] = {}
_session: ContextVar[str] = ContextVar("platform_staff_session", default="")


class LocalBackend(ModelBackend):
    """Local accounts of this admin. Shadows cannot sign in here: a local password would outlive the account."""

    def user_can_authenticate(self, user: Any) -> bool:
        """Whether the user is active and not a shadow."""
        return super().user_can_authenticate(user) and not user.get_username().startswith(PREFIX)


class StaffBackend(BaseBackend):
    """Asks user-service. It comes after `LocalBackend`, so that local accounts do not depend on user-service."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **_: Any
    ) -> User | None:
        """The shadow of the account, or None for wrong credentials. Raises PeerError, Throttled."""
        if request is None or not username or not password or "@" not in username:
            return None
        sign_in = import_string(f"{settings.ACCOUNTS}.sign_staff_in")
        account: StaffSignIn | None = sign_in(username, password, address_of(request))
        user = None if account is None else shadow(account)
        if account is not None and user is not None:
            user.platform_session = account.session  # type: ignore[attr-defined]  # for `note_session`
            _note_fresh(user, account.session)
        return user

    def get_user(self, user_id: int) -> User | None:
        """The shadow with this id, with current roles.

        None if there is none, if its account has no roles any more, or if the session at user-service has ended.
        """
        user = User.objects.filter(pk=user_id, username__startswith=PREFIX).first()
        return None if user is None else _refreshed(user, _session.get())

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        """Whether a role of the shadow allows the action in the app (``ADMIN_PAGES``). Models are not distinguished."""
        app, _, name = perm.partition(".")
        return _is_shadow(user_obj) and name.partition("_")[0] in _actions(user_obj, app)

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        """Whether a role of the shadow allows any action in the app."""
        return _is_shadow(user_obj) and bool(_actions(user_obj, app_label))


class StaffSessionMiddleware:
    """Ends a session here when the one at user-service has ended. Comes after Django's AuthenticationMiddleware."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.user = SimpleLazyObject(partial(_user_of, request))  # type: ignore[assignment]
        return self.get_response(request)


def _user_of(request: HttpRequest) -> Any:
    """The user of the session. A backend gets no request, so the id of the session reaches it by a context variable."""
    session = request.session.get(SESSION, "")
    token = _session.set(session)
    try:
        user = get_user(request)
    finally:
        _session.reset(token)
    if session and user.is_anonymous:
        request.session.flush()
    return user


def _is_shadow(user: Any) -> bool:
    return bool(user.is_active and user.get_username().startswith(PREFIX))


def _actions(user: User, app: str) -> set[str]:
    pages = admin_pages_of(settings.ACCESS_RULES)
    return {action for role in roles_of(user) for action in pages.get(role, {}).get(app, ())}


def roles_of(user: Any) -> frozenset[Role]:
    """The roles of a shadow, stored as its groups. At most one query for each request."""
    if not hasattr(user, "_platform_roles"):
        user._platform_roles = known_roles(list(user.groups.values_list("name", flat=True)))
    return frozenset(user._platform_roles)


def identity(user: Any) -> Identity:
    """The `Identity` of a user who is signed in to the admin."""
    name = user.get_username()
    if name.startswith(PREFIX):
        return Identity(Kind.USER, name.removeprefix(PREFIX), roles_of(user))
    return Identity(Kind.LOCAL, name, frozenset({Role.ADMIN} if user.is_superuser else ()))


staff_identity = identity
"""The name of `identity` outside this package, which has a module of that name."""


def account_of(user: Any) -> int | None:
    """The id of the account at user-service; None for a local account and for nobody."""
    name = user.get_username()
    return int(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None


def signed_on(account_id: int, session: str) -> User | None:
    """The present shadow of an account, for a ticket; None if the account has no role.

    Raises SessionEnded, and PeerError or PlatformError if user-service does not answer.
    """
    account: StaffAccount | None = import_string(f"{settings.ACCOUNTS}.staff_account")(account_id, session)
    user = None if account is None else shadow(account)
    if user is not None:
        _note_fresh(user, session)
    return user


def note_session(request: HttpRequest) -> None:
    """After a sign-in with the form, keeps the id of the session at user-service."""
    session = getattr(request.user, "platform_session", "")
    if session:
        request.session[SESSION] = session


def end_session(request: HttpRequest) -> bool:
    """End the session at user-service. False if user-service does not answer. Does nothing for a local account."""
    account, session = account_of(request.user), request.session.get(SESSION, "")
    if account is None or not session:
        return True
    try:
        with context.grace(REFRESH_SECONDS):
            import_string(f"{settings.ACCOUNTS}.end_staff_session")(account, session)
    except (PeerError, PlatformError):
        return False
    return True


def _note_fresh(user: User, session: str) -> None:
    if len(_asked) >= _REMEMBERED:
        _asked.clear()
    _asked[os.getpid(), user.pk, session] = time.monotonic()


def shadow_name(user_id: int | str) -> str:
    """The username of the shadow of an account."""
    return f"{PREFIX}{user_id}"


@transaction.atomic
def shadow(account: StaffAccount) -> User | None:
    """Create or update this service's shadow of a staff account, with its current roles. None if it was erased."""
    if is_erased(int(account.id)):
        return None
    roles = known_roles(account.roles)
    seen = {
        "email": account.email,
        "first_name": account.name[:150],
        "is_staff": True,
        "is_active": True,
        "is_superuser": Role.ADMIN in roles,
        "password": f"!{account.stamp}",  # no password; when it changes, Django ends the sessions
    }
    user, is_new = User.objects.get_or_create(username=shadow_name(account.id), defaults=seen)
    if is_new or roles != roles_of(user) or any(getattr(user, name) != value for name, value in seen.items()):
        User.objects.filter(pk=user.pk).update(**seen)
        user.groups.set([Group.objects.get_or_create(name=role)[0] for role in sorted(roles)])
        user = User.objects.get(pk=user.pk)
    return user


@transaction.atomic
def erase_shadow(user_id: int) -> None:
    """Erase the personal data in the shadow of an account, and end its sessions. Its history keeps the id."""
    for user in User.objects.filter(username=shadow_name(user_id)):
        user.groups.clear()
        user.set_unusable_password()
        user.email = user.first_name = user.last_name = ""
        user.is_active = user.is_staff = user.is_superuser = False
        user.save()


def _refreshed(user: User, session: str) -> User | None:
    """The shadow with the current data of user-service; unchanged if user-service does not answer.

    None if the account has no roles any more, or if the session at user-service has ended.
    """
    if time.monotonic() - _asked.get((os.getpid(), user.pk, session), float("-inf")) < FRESH_SECONDS:
        return user if user.is_active else None
    try:
        with context.grace(REFRESH_SECONDS):  # ignores X-Request-Timeout: a short one would prevent the refresh
            look_up = import_string(f"{settings.ACCOUNTS}.staff_account")
            account = look_up(int(user.username.removeprefix(PREFIX)), session)
    except SessionEnded:
        return None
    except (PeerError, PlatformError):
        return user if user.is_active else None
    if account is None:
        User.objects.filter(pk=user.pk).update(is_active=False, is_staff=False, is_superuser=False)
        return None
    found = shadow(account)
    if found is not None:
        _note_fresh(found, session)
    return found


class SignInForm(AuthenticationForm):  # type: ignore[misc]
    """Throttles attempts, and shows an error when user-service does not answer."""

    def __init__(self, request: HttpRequest | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        self.fields["username"].label = "Email or local username"
        for name, most in (("username", 254), ("password", 128)):
            self.fields[name].max_length = self.fields[name].widget.attrs["maxlength"] = most
            self.fields[name].validators.append(MaxLengthValidator(most))

    def clean(self) -> Any:
        """Check the credentials. Raises ValidationError, also if they cannot be checked now, and says why."""
        limits = attempts("admin", self.cleaned_data.get("username", ""), address_of(self.request))
        try:
            with counted(limits):
                cleaned = super().clean()
        except PlatformError as error:
            raise ValidationError(error.detail, code=error.code) from None
        except PeerRefused as error:
            raise ValidationError(error.detail, code=error.code) from None
        except PeerError as error:
            reason = error.summary if isinstance(error, CallerRefused) else "does not answer"
            text = f"user-service {reason}: for the moment only local accounts can sign in."
            raise ValidationError(text, code="unavailable") from None
        give_back(limits)
        return cleaned
