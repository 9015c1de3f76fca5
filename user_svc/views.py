"""The API of user-service."""

import time
from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.authentication import BaseAuthentication
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from platform_core.api import ResourceViewSet, declared, expected_versions, idempotent, takes_key
from platform_core.auth import NOBODY, caller_of, is_open, sends_mail, throttle
from platform_core.clients import SESSION_ENDED, SessionEnded
from platform_core.http import Forbidden, InvalidInput, NotAuthenticated, NotFound
from platform_core.vocabulary import Role
from user_svc import accounts, services, sign_in
from user_svc.emails import email_key
from user_svc.models import User
from user_svc.serializers import (
    CredentialsSerializer,
    EmailVerificationSerializer,
    KeySetSerializer,
    PairSerializer,
    PasswordChangeSerializer,
    PasswordResetConfirmationSerializer,
    PasswordResetSerializer,
    RefreshSerializer,
    StaffAccountSerializer,
    StaffCredentialsSerializer,
    StaffSessionSerializer,
    UserQuery,
    UserSerializer,
)

_SIGN_UP_WINDOW = 3600
_NEW_ADDRESSES = 10, 3600
"""How many addresses one caller may try to change to, and the window in seconds."""
_RECENT_SECONDS = 300


class UserViewSet(ListModelMixin, ResourceViewSet):
    """People with an account."""

    queryset = declared(User)
    serializer_class = UserSerializer
    query_class = UserQuery
    conditional_actions = ("retrieve", "me")

    def list(self, request: Request) -> Response:
        """Users, newest first."""
        return super().list(request)

    def retrieve(self, request: Request, pk: int) -> Response:
        """One user."""
        return self.shown(self.get_object())

    @extend_schema(responses={201: UserSerializer, 202: None, 429: None})
    @takes_key
    def create(self, request: Request) -> Response:
        """Add a user. 409 `email_taken`: another user has the address.

        If addresses are verified, only the staff gets this answer. Everybody else gets 202 whether the address is taken
        or not, and the account begins when the link is followed that was mailed to the address.
        """
        is_staff = bool(caller_of(request).roles)
        if not is_staff and not is_open():
            address, most = throttle.address_of(request), settings.SIGN_UPS_PER_HOUR
            throttle.count([throttle.Limit("sign-up", address, most, _SIGN_UP_WINDOW)])
        if settings.EMAIL_VERIFICATION and not is_staff:
            wanted = self.validated()
            throttle.count([_mails_to(wanted["email"])])
            return self.sign_up_by_mail(request, wanted)
        return self.sign_up(request)

    @idempotent
    def sign_up(self, request: Request) -> Response:
        return self.answer(services.create_user(**self.validated()), status=201)

    @idempotent
    def sign_up_by_mail(self, request: Request, wanted: dict[str, Any]) -> Response:
        services.sign_up_by_mail(**wanted)
        return Response(status=202)

    def update(self, request: Request, pk: int) -> Response:
        """Replace a user's profile. Omitted fields become empty, but an omitted password is kept.

        403 `reauthentication_required`: customers change their address only within five minutes after a sign-in.
        """
        return self.change(request)

    def partial_update(self, request: Request, pk: int) -> Response:
        """Change parts of a user's profile.

        403 `reauthentication_required`: customers change their address only within five minutes after a sign-in.
        """
        return self.change(request, partial=True)

    def change(self, request: Request, *, partial: bool = False) -> Response:
        """Refuses a new password from the user. It is changed at another route, with the present one."""
        user = self.get_object()
        self.check_role(request, user)
        changes = self.validated(user, partial=partial)
        caller = caller_of(request)
        if "password" in changes and caller is not NOBODY and Role.ADMIN not in caller.roles:
            raise InvalidInput.field(
                "password", "Change the password at /api/users/me/password; the present one is required."
            )
        if changes.get("email", user.email) != user.email and not caller.roles:
            self.check_new_address(request, changes["email"])
        return self.answer(services.update_user(user.pk, expected_versions(request), **changes))

    def destroy(self, request: Request, pk: int) -> Response:
        """Delete a user. The email address can be used again.

        403 `reauthentication_required`: customers do this only within five minutes after a sign-in.
        """
        user = self.get_object()
        self.check_role(request, user)
        self.check_recent_sign_in(request)
        services.delete_user(user.pk, expected_versions(request))
        return Response(status=204)

    @extend_schema(operation_id="getMe", responses={200: UserSerializer})
    @action(detail=False)
    def me(self, request: Request) -> Response:
        """The signed-in user."""
        user = self.get_queryset().filter(pk=self.own_id(request), is_active=True).first()
        if user is None:
            raise NotAuthenticated("This account is deleted or disabled.", error="invalid_token")
        self.check_object_permissions(request, user)
        return self.shown(user)

    @extend_schema(operation_id="changePassword", request=PasswordChangeSerializer, responses={204: None, 429: None})
    @action(detail=False, methods=["post"], url_path="me/password", serializer_class=PasswordChangeSerializer)
    def password(self, request: Request) -> Response:
        """Change one's own password. All other sessions end."""
        wanted = self.validated()
        session = caller_of(request).session
        address = throttle.address_of(request)
        sign_in.change_password(self.own_id(request), session, wanted["current"], wanted["new"], address)
        return Response(status=204)

    def own_id(self, request: Request) -> int:
        user_id = caller_of(request).user_id
        if user_id is None:
            raise NotAuthenticated()
        return user_id

    def check_new_address(self, request: Request, email: str) -> None:
        """Limits what a change of the address tells and sends: whether it is taken, and mail to it."""
        self.check_recent_sign_in(request)
        caller = caller_of(request)
        limits = [] if caller is NOBODY else [throttle.Limit("new-address", caller.caller, *_NEW_ADDRESSES)]
        limits += [_mails_to(email)] if settings.EMAIL_VERIFICATION else []
        if limits:
            throttle.count(limits)

    def check_recent_sign_in(self, request: Request) -> None:
        """Raises Forbidden if a customer's token comes from a sign-in of more than five minutes ago.

        A token that was copied, or a device that was left alone, must not take the account away from its owner.
        """
        caller = caller_of(request)
        is_customer = caller.user_id is not None and not caller.roles
        if is_customer and time.time() - caller.auth_time > _RECENT_SECONDS:
            raise Forbidden(
                "This needs a sign-in within the last five minutes: sign in again, and send the new access token.",
                code="reauthentication_required",
            )

    def check_role(self, request: Request, user: User) -> None:
        """An account with roles is changed by its owner or an admin: else a lesser role could make itself a greater."""
        caller = caller_of(request)
        is_free = caller is NOBODY or Role.ADMIN in caller.roles or caller.user_id == user.pk
        if user.roles and not is_free:
            raise Forbidden("An account of the staff is changed by its owner or by an admin.")


class AuthViewSet(GenericViewSet[Any]):
    """Signing in and out."""

    authentication_classes: tuple[type[BaseAuthentication], ...] = ()  # an expired token must not prevent a sign-in

    @extend_schema(operation_id="signIn", responses={200: PairSerializer, 401: None, 429: None})
    @action(detail=False, methods=["post"], serializer_class=CredentialsSerializer)
    def token(self, request: Request) -> Response:
        """Sign in. 401 `invalid_credentials`: email or password is wrong. 429: too many attempts."""
        wanted = _validated(self)
        return _answer(sign_in.sign_in(wanted["email"], wanted["password"], throttle.address_of(request)))

    @extend_schema(operation_id="refreshTokens", responses={200: PairSerializer, 401: None})
    @action(detail=False, methods=["post"], serializer_class=RefreshSerializer)
    def refresh(self, request: Request) -> Response:
        """Exchange a refresh token for a new pair. Reuse of a spent token ends its session."""
        return _answer(sign_in.refresh(_validated(self)["refresh"]))

    @extend_schema(operation_id="signOut", responses={204: None})
    @action(detail=False, methods=["post"], serializer_class=RefreshSerializer)
    def logout(self, request: Request) -> Response:
        """End the session of a refresh token."""
        sign_in.sign_out(_validated(self)["refresh"])
        return Response(status=204)

    @extend_schema(operation_id="requestPasswordReset", responses={202: None, 429: None})
    @action(detail=False, methods=["post"], url_path="password-reset", serializer_class=PasswordResetSerializer)
    @sends_mail
    def password_reset(self, request: Request) -> Response:
        """Mail a link for a new password, if the address has an account. The answer is the same for all addresses."""
        sign_in.request_reset(_validated(self)["email"], throttle.address_of(request))
        return Response(status=202)

    @extend_schema(operation_id="confirmPasswordReset", responses={204: None, 429: None})
    @action(
        detail=False,
        methods=["post"],
        url_path="password-reset/confirm",
        serializer_class=PasswordResetConfirmationSerializer,
    )
    def confirm_password_reset(self, request: Request) -> Response:
        """Set a new password with the token of the link. It works once, within an hour. All sessions end."""
        wanted = _validated(self)
        sign_in.reset_password(wanted["token"], wanted["password"], throttle.address_of(request))
        return Response(status=204)

    @extend_schema(operation_id="verifyEmail", responses={204: None, 409: None, 429: None})
    @action(detail=False, methods=["post"], url_path="verify-email", serializer_class=EmailVerificationSerializer)
    def verify_email(self, request: Request) -> Response:
        """Confirm an address with the token of the link that was mailed to it. It works once, within 24 hours.

        The account begins with it, or the address replaces the present one. 409 `email_taken`: meanwhile another user
        has the address.
        """
        sign_in.verify_email(_validated(self)["token"], throttle.address_of(request))
        return Response(status=204)


class StaffViewSet(GenericViewSet[Any]):
    """Staff accounts, for the admins of the other services."""

    serializer_class = StaffAccountSerializer

    def get_serializer_class(self) -> Any:
        return StaffCredentialsSerializer if self.action == "check" else super().get_serializer_class()

    @extend_schema(
        operation_id="checkStaff",
        request=StaffCredentialsSerializer,
        responses={200: StaffSessionSerializer, 422: None, 429: None},
    )
    def check(self, request: Request) -> Response:
        """Check credentials for an admin's sign-in, and begin a session.

        401 `invalid_credentials`: they are wrong. 422 `no_role`: they are a customer's.
        """
        found = accounts.sign_staff_in(**_validated(self))
        if found is None:
            raise NotAuthenticated("The email or the password is wrong.", code="invalid_credentials")
        return _unkept(found)

    @extend_schema(operation_id="getStaffAccount", responses={200: StaffAccountSerializer})
    def show(self, request: Request, pk: int) -> Response:
        """The present roles of an account. 404: it has none."""
        found = accounts.staff_account(int(pk))
        if found is None:
            raise NotFound()
        return _unkept(found)

    @extend_schema(operation_id="getStaffSession", responses={200: StaffAccountSerializer})
    def show_session(self, request: Request, pk: int, session: str) -> Response:
        """The present roles of an account, as long as the session goes on.

        404 `session_ended`: it has ended. Any other 404: the account has no role.
        """
        try:
            found = accounts.staff_account(int(pk), session)
        except SessionEnded:
            raise NotFound("The session has ended.", code=SESSION_ENDED) from None
        if found is None:
            raise NotFound()
        return _unkept(found)

    @extend_schema(operation_id="endStaffSession", responses={204: None})
    def end_session(self, request: Request, pk: int, session: str) -> Response:
        """End a session: sign out of all admins. Also 204 if it has ended or never was."""
        accounts.end_staff_session(int(pk), session)
        return Response(status=204)


class KeySetView(GenericViewSet[Any]):
    """The public keys of access tokens."""

    authentication_classes = ()
    serializer_class = KeySetSerializer

    @extend_schema(operation_id="getKeySet", tags=["auth"], responses={200: KeySetSerializer})
    def show(self, request: Request) -> Response:
        """The JWK set (RFC 7517) with which access tokens are verified."""
        return Response(accounts.key_set(), headers={"Cache-Control": "public, max-age=60"})


def _mails_to(email: str) -> throttle.Limit:
    """The limit of mails that strangers can cause to an address."""
    return throttle.Limit("account-mail", email_key(email), 10, 15 * 60)


def _validated(view: GenericViewSet[Any]) -> dict[str, Any]:
    """Validates the request body with the view's serializer. Raises DRF's ValidationError."""
    serializer = view.get_serializer(data=view.request.data)
    serializer.is_valid(raise_exception=True)
    found: dict[str, Any] = serializer.validated_data
    return found


def _answer(pair: sign_in.Pair) -> Response:
    body = {"access": pair.access, "refresh": pair.refresh, "tokenType": "Bearer", "expiresIn": pair.expires_in}
    return _unkept(body)


def _unkept(body: Any) -> Response:
    """Forbids caches to store the response (RFC 6749, section 5.1)."""
    return Response(body, headers={"Cache-Control": "no-store"})
