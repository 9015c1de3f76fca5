"""Admin sign-on: an account of user-service with a role opens the admins of all five services.

Each service stores a copy of the account (its "shadow") as an `auth.User` row without a password, because Django's
sessions and history need one. When user-service is down, a superuser made with `createsuperuser` can still sign in.
"""

import os
import time
from typing import Any

from django.conf import settings
from django.contrib.auth.backends import BaseBackend, ModelBackend
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator
from django.db import transaction
from django.http import HttpRequest
from django.utils.module_loading import import_string
from unfold.forms import AuthenticationForm

from platform_core.auth.identity import Identity, Kind, known_roles
from platform_core.auth.rules import admin_pages_of
from platform_core.auth.throttle import address_of, attempts, counted, give_back
from platform_core.clients.errors import CallerRefused, PeerError, PeerRefused
from platform_core.clients.users import StaffAccount
from platform_core.db.erased import is_erased
from platform_core.http import context
from platform_core.http.errors import PlatformError
from platform_core.vocabulary import Role

PREFIX = "staff:"
"""Prefix of a shadow's username. Local accounts cannot have it, because Django's usernames contain no colon."""
FRESH_SECONDS = 60.0
"""Seconds for which a process caches an account's roles."""
REFRESH_SECONDS = 1.0
"""Timeout in seconds of the call that refreshes them."""
_asked: dict[tuple[int, int], float] = {}


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
        account: StaffAccount | None = sign_in(username, password, address_of(request))
        return None if account is None else shadow(account)

    def get_user(self, user_id: int) -> User | None:
        """The shadow with this id, with current roles; None if there is none or its account has no roles any more."""
        user = User.objects.filter(pk=user_id, username__startswith=PREFIX).first()
        return None if user is None else _refreshed(user)

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        """Whether a role of the shadow allows the action in the app (``ADMIN_PAGES``). Models are not distinguished."""
        app, _, name = perm.partition(".")
        return _is_shadow(user_obj) and name.partition("_")[0] in _actions(user_obj, app)

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        """Whether a role of the shadow allows any action in the app."""
        return _is_shadow(user_obj) and bool(_actions(user_obj, app_label))


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
    _asked[os.getpid(), user.pk] = time.monotonic()
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


def _refreshed(user: User) -> User | None:
    """The shadow with the current data of user-service; unchanged if user-service does not answer."""
    if time.monotonic() - _asked.get((os.getpid(), user.pk), float("-inf")) < FRESH_SECONDS:
        return user if user.is_active else None
    try:
        with context.grace(REFRESH_SECONDS):  # ignores X-Request-Timeout: a short one would prevent the refresh
            look_up = import_string(f"{settings.ACCOUNTS}.staff_account")
            account = look_up(int(user.username.removeprefix(PREFIX)))
    except (PeerError, PlatformError):
        return user if user.is_active else None
    if account is None:
        User.objects.filter(pk=user.pk).update(is_active=False, is_staff=False, is_superuser=False)
        return None
    return shadow(account)


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
