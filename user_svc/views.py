"""The API of user-service."""

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
from platform_core.auth import NOBODY, caller_of, is_open, throttle
from platform_core.http import Forbidden, InvalidInput, NotAuthenticated, NotFound
from platform_core.vocabulary import Role
from user_svc import accounts, services, sign_in
from user_svc.models import User
from user_svc.serializers import (
    CredentialsSerializer,
    KeySetSerializer,
    PairSerializer,
    PasswordChangeSerializer,
    RefreshSerializer,
    StaffAccountSerializer,
    StaffCredentialsSerializer,
    UserQuery,
    UserSerializer,
)

_SIGN_UP_WINDOW = 3600


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

    @extend_schema(responses={201: UserSerializer, 429: None})
    @takes_key
    def create(self, request: Request) -> Response:
        """Add a user. 409 `email_taken`: another user has the address."""
        if not caller_of(request).roles and not is_open():
            address, most = throttle.address_of(request), settings.SIGN_UPS_PER_HOUR
            throttle.count([throttle.Limit("sign-up", address, most, _SIGN_UP_WINDOW)])
        return self.sign_up(request)

    @idempotent
    def sign_up(self, request: Request) -> Response:
        return self.answer(services.create_user(**self.validated()), status=201)

    def update(self, request: Request, pk: int) -> Response:
        """Replace a user's profile. Omitted fields become empty, but an omitted password is kept."""
        return self.change(request)

    def partial_update(self, request: Request, pk: int) -> Response:
        """Change parts of a user's profile."""
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
        return self.answer(services.update_user(user.pk, expected_versions(request), **changes))

    def destroy(self, request: Request, pk: int) -> Response:
        """Delete a user. The email address can be used again."""
        user = self.get_object()
        self.check_role(request, user)
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


class StaffViewSet(GenericViewSet[Any]):
    """Staff accounts, for the admins of the other services."""

    serializer_class = StaffAccountSerializer

    def get_serializer_class(self) -> Any:
        return StaffCredentialsSerializer if self.action == "check" else super().get_serializer_class()

    @extend_schema(
        operation_id="checkStaff",
        request=StaffCredentialsSerializer,
        responses={200: StaffAccountSerializer, 429: None},
    )
    def check(self, request: Request) -> Response:
        """Check credentials for an admin's sign-in. 401 `invalid_credentials`: they are wrong or a customer's."""
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


class KeySetView(GenericViewSet[Any]):
    """The public keys of access tokens."""

    authentication_classes = ()
    serializer_class = KeySetSerializer

    @extend_schema(operation_id="getKeySet", tags=["auth"], responses={200: KeySetSerializer})
    def show(self, request: Request) -> Response:
        """The JWK set (RFC 7517) with which access tokens are verified."""
        return Response(accounts.key_set(), headers={"Cache-Control": "public, max-age=60"})


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
