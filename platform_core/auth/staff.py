"""Admin sign-on: an account of user-service with a role opens the admins of all five services.

Each service keeps a shadow of it among its own `auth.User` rows, without a password, for Django's sessions and history
need one. A superuser made with `createsuperuser` is the way in when user-service is down.
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
from platform_core.auth.throttle import address_of, attempts, count, give_back
from platform_core.clients.errors import PeerError, PeerRefused
from platform_core.clients.users import Standing
from platform_core.http import context
from platform_core.http.errors import PlatformError, Throttled
from platform_core.vocabulary import Role

PREFIX = "staff:"
"""Before the account's id in a shadow's name. No local account can be called so: Django's names have no colon."""
FRESH_SECONDS = 60.0
"""How long a process goes by what it knows of an account's roles."""
REFRESH_SECONDS = 1.0
"""How long asking for them may take."""
_asked: dict[tuple[int, int], float] = {}


class LocalBackend(ModelBackend):
    """The accounts of this admin alone. A shadow is none: a password of its own would outlive the account."""

    def user_can_authenticate(self, user: Any) -> bool:
        return super().user_can_authenticate(user) and not user.get_username().startswith(PREFIX)


class StaffBackend(BaseBackend):
    """Asks user-service. Behind the local accounts, so that they get in whatever user-service does."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **_: Any
    ) -> User | None:
        """Raises PeerError, Throttled."""
        if request is None or not username or not password or "@" not in username:
            return None
        sign_in = import_string(f"{settings.ACCOUNTS}.sign_staff_in")
        standing: Standing | None = sign_in(username, password, address_of(request))
        return None if standing is None else shadow(standing)

    def get_user(self, user_id: int) -> User | None:
        user = User.objects.filter(pk=user_id, username__startswith=PREFIX).first()
        return None if user is None else _refreshed(user)

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        app, _, name = perm.partition(".")
        return _is_shadow(user_obj) and name.partition("_")[0] in _actions(user_obj, app)

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        return _is_shadow(user_obj) and bool(_actions(user_obj, app_label))


def _is_shadow(user: Any) -> bool:
    return bool(user.is_active and user.get_username().startswith(PREFIX))


def _actions(user: User, app: str) -> set[str]:
    pages = admin_pages_of(settings.ACCESS_RULES)
    return {action for role in roles_of(user) for action in pages.get(role, {}).get(app, ())}


def roles_of(user: Any) -> frozenset[Role]:
    """A shadow's roles, which are its groups; one query, once for each request."""
    if not hasattr(user, "_platform_roles"):
        user._platform_roles = known_roles(list(user.groups.values_list("name", flat=True)))
    return frozenset(user._platform_roles)


def identity(user: Any) -> Identity:
    """Who is signed in to the admin, as the rules know them."""
    name = user.get_username()
    if name.startswith(PREFIX):
        return Identity(Kind.USER, name.removeprefix(PREFIX), roles_of(user))
    return Identity(Kind.LOCAL, name, frozenset({Role.ADMIN} if user.is_superuser else ()))


@transaction.atomic
def shadow(standing: Standing) -> User:
    """This service's row for an account of the staff, with its present roles."""
    roles = known_roles(standing.roles)
    seen = {
        "email": standing.email,
        "first_name": standing.name[:150],
        "is_staff": True,
        "is_active": True,
        "is_superuser": Role.ADMIN in roles,
        "password": f"!{standing.stamp}",  # no password; when it changes, Django ends the sessions
    }
    user, is_new = User.objects.get_or_create(username=f"{PREFIX}{standing.id}", defaults=seen)
    if is_new or roles != roles_of(user) or any(getattr(user, name) != value for name, value in seen.items()):
        User.objects.filter(pk=user.pk).update(**seen)
        user.groups.set([Group.objects.get_or_create(name=role)[0] for role in sorted(roles)])
        user = User.objects.get(pk=user.pk)
    _asked[os.getpid(), user.pk] = time.monotonic()
    return user


def _refreshed(user: User) -> User | None:
    """The shadow as user-service has it now; as it was, while user-service does not answer."""
    if time.monotonic() - _asked.get((os.getpid(), user.pk), float("-inf")) < FRESH_SECONDS:
        return user if user.is_active else None
    try:
        with context.grace(REFRESH_SECONDS):  # not by X-Request-Timeout, with which one could stay what one was
            standing = import_string(f"{settings.ACCOUNTS}.standing")(int(user.username.removeprefix(PREFIX)))
    except (PeerError, PlatformError):
        return user if user.is_active else None
    if standing is None:
        User.objects.filter(pk=user.pk).update(is_active=False, is_staff=False, is_superuser=False)
        return None
    return shadow(standing)


class SignInForm(AuthenticationForm):  # type: ignore[misc]
    """Counts the attempts, and says it when user-service cannot be asked."""

    def __init__(self, request: HttpRequest | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        self.fields["username"].label = "Email or local username"
        for name, most in (("username", 254), ("password", 128)):
            self.fields[name].max_length = self.fields[name].widget.attrs["maxlength"] = most
            self.fields[name].validators.append(MaxLengthValidator(most))

    def clean(self) -> Any:
        limits = attempts("admin", self.cleaned_data.get("username", ""), address_of(self.request))
        try:
            count(limits)
            cleaned = super().clean()
        except Throttled as error:
            raise ValidationError(error.detail, code=error.code) from None
        except PeerRefused as error:
            raise ValidationError(error.detail, code=error.code) from None
        except PeerError:
            text = "user-service does not answer: for the moment only local accounts can sign in."
            raise ValidationError(text, code="unavailable") from None
        give_back(limits)
        return cleaned
