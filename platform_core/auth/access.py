"""Authentication and permission classes for DRF."""

import re
from functools import cache
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication
from rest_framework.authentication import SessionAuthentication as DrfSessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from platform_core.auth import staff
from platform_core.auth.identity import NOBODY, Identity, Kind
from platform_core.auth.keys import KeysError
from platform_core.auth.rules import rule_for, scope
from platform_core.auth.tokens import BadToken, identify
from platform_core.clients.errors import CallerRefused, PeerError
from platform_core.http import context
from platform_core.http.errors import Forbidden, NotAuthenticated, NotFound, challenge
from platform_core.http.middleware import readable


class KeysUnknown(exceptions.APIException):
    """No token can be verified, because the public keys are not available. Answered with 503."""

    status_code = 503
    default_code = "unavailable"
    wait = 1

    def __init__(self, error: Exception) -> None:
        match error:
            case CallerRefused():
                reason = f"{error.peer} {error.summary}"
            case PeerError():
                reason = f"{error.peer} does not answer"
            case _:
                reason = "the services' keys are missing"
        super().__init__(f"Tokens cannot be verified at the moment: {reason}.")


class BearerAuthentication(BaseAuthentication):
    """``Authorization: Bearer …`` (RFC 6750) with the token of a person or of a service."""

    def authenticate(self, request: Request) -> tuple[Identity, Identity] | None:
        """The caller, as user and as auth; None without the header. Raises AuthenticationFailed, KeysUnknown."""
        header = request.META.get("HTTP_AUTHORIZATION")
        if header is None:
            return None
        scheme, _, token = header.strip().partition(" ")
        if scheme.lower() != "bearer":
            raise exceptions.AuthenticationFailed("Expected `Authorization: Bearer` and an access token.")
        try:
            caller = identify(token.strip())
        except BadToken as error:
            raise exceptions.AuthenticationFailed(str(error)) from None
        except (PeerError, KeysError, OSError) as error:
            raise KeysUnknown(error) from error
        if caller.kind is Kind.USER and not _is_live(caller):
            raise exceptions.AuthenticationFailed("The session of this token has ended. Sign in again.")
        return _known(caller, caller)

    def authenticate_header(self, request: Request) -> str:
        """The value of WWW-Authenticate for a 401."""
        return challenge("invalid_token" if "Authorization" in request.headers else "")


class SessionAuthentication(DrfSessionAuthentication):
    """The session of this service's admin, in a browser. Unsafe methods require the CSRF token."""

    def authenticate(self, request: Request) -> tuple[Any, Identity] | None:
        """The signed-in user and their `Identity`; None without a session of the staff.

        Raises PermissionDenied if the CSRF token is missing or wrong.
        """
        if settings.SESSION_COOKIE_NAME not in request.COOKIES:
            return None
        found = super().authenticate(request)
        if found is None or not found[0].is_staff:
            return None
        return _known(found[0], staff.identity(found[0]))


def _is_live(caller: Identity) -> bool:
    """Whether the caller's session goes on. Only the service that has the sessions knows; the others trust the token
    until it expires.
    """
    return not settings.LIVE_SESSIONS or bool(import_string(settings.LIVE_SESSIONS)(caller.user_id, caller.session))


def _known(user: Any, caller: Identity) -> tuple[Any, Identity]:
    context.called_by(caller.caller, caller.for_user)
    return user, caller


def caller_of(request: Request) -> Identity:
    """The `Identity` that an authenticator gave as ``user`` or as ``auth``."""
    for given in (request.auth, request.user):
        if isinstance(given, Identity):
            return given
    return NOBODY


class RulesPermission(BasePermission):
    """Applies the service's access rules. In development, anonymous callers may do everything.

    Sets ``request.owner`` to the id of the user to whose rows the caller is restricted, or to None.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        """True, or one of DRF's exceptions: NotAuthenticated, PermissionDenied, NotFound."""
        caller = caller_of(request)
        if caller is NOBODY and is_open():
            return True
        method = (request.method or "").lower()
        is_known = method in view.http_method_names and hasattr(view, method)
        if not is_known or method == "options":
            return True  # the view answers a method that it does not have with 405
        match = request.resolver_match
        assert match is not None
        rule = rule_for(method.upper(), bare(readable(match.route)))
        if rule is None:
            raise exceptions.PermissionDenied("No access rule allows this.")
        try:
            request.owner = scope(rule, caller, next(iter(match.kwargs.values()), None))  # type: ignore[attr-defined]
        except NotAuthenticated as error:
            raise exceptions.NotAuthenticated(error.detail) from None
        except Forbidden as error:
            raise exceptions.PermissionDenied(error.detail) from None
        except NotFound as error:
            raise exceptions.NotFound(error.detail) from None
        return True


def may(request: Request, method: str, route: str) -> bool:
    """Whether the rules allow the caller to do this with all rows. For pages that show the possible actions."""
    caller, rule = caller_of(request), rule_for(method, route)
    if rule is None or (caller is NOBODY and is_open()):
        return rule is not None
    return rule.anybody or bool(caller.roles & rule.roles)


def is_open() -> bool:
    """Whether anonymous callers may do everything (development mode)."""
    return bool(settings.PLATFORM_ENV == "development")


def owner_of(request: Request) -> int | None:
    """The id of the user to whose rows the caller is restricted; None if there is no restriction."""
    return getattr(request, "owner", None)


@cache
def bare(route: str) -> str:
    """``/api/notes/{note_id}`` → ``/api/notes/{id}``, the form that rules use."""
    return re.sub(r"\{\w+\}", "{id}", route)
