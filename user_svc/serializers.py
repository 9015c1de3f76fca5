"""The wire format of user-service."""

from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError as PasswordError
from django.db.models import QuerySet
from rest_framework import serializers

from platform_core.api import (
    IdField,
    OptionalStringField,
    Query,
    Serializer,
    StringField,
    TextField,
    TimestampField,
    request_examples,
)
from platform_core.vocabulary import Role
from user_svc import services
from user_svc.emails import BadAddress, email_key
from user_svc.models import User


class EmailAddressField(serializers.EmailField):
    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        email = str(super().to_internal_value(data))
        try:
            email_key(email)
        except BadAddress as error:
            raise serializers.ValidationError(str(error), code="invalid") from None
        return email


class PasswordField(StringField):
    openapi = {"minLength": 8, "format": "password"}


def strong(password: str, person: User | None = None) -> str:
    """Runs Django's password validators; for ``person`` also those that compare it with name and email.

    Raises DRF's ValidationError with their messages.
    """
    try:
        validate_password(password, person)  # type: ignore[arg-type]  # any object with these attributes
    except PasswordError as error:
        raise serializers.ValidationError(error.messages, code="weak_password") from None
    return password


@request_examples(
    {
        "A user": {
            "name": "Ada Lovelace",
            "email": "ada@example.com",
            "phone": "+44 20 7946 0000",
            "address": "London",
        }
    }
)
class UserSerializer(Serializer):
    id = IdField(read_only=True)
    name = StringField(max_length=200, help_text="1 to 200 characters.")
    email = EmailAddressField(max_length=254, help_text="Unique, ignoring case and the spelling of its letters.")
    password = PasswordField(
        write_only=True,
        required=False,
        allow_null=True,
        trim_whitespace=False,
        max_length=128,
        style={"input_type": "password"},
        help_text="An account without a password cannot sign in. Common and numeric passwords are refused.",
    )
    phone = OptionalStringField(max_length=50)
    address = OptionalStringField(max_length=500, one_line=False)
    emailVerified = serializers.BooleanField(source="email_verified", read_only=True)
    pendingEmail = serializers.CharField(
        source="pending_email",
        read_only=True,
        allow_null=True,
        help_text="Replaces `email` when the link that was mailed to it is followed.",
    )
    isActive = serializers.BooleanField(source="is_active", read_only=True)
    createdAt = TimestampField(source="created_at", read_only=True)
    updatedAt = TimestampField(source="updated_at", read_only=True)

    def validate_password(self, value: str | None) -> str | None:
        return value if value is None else strong(value)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("password"):
            known = {name: attrs.get(name, getattr(self.instance, name, "")) for name in ("name", "email")}
            try:
                strong(attrs["password"], User(**known))
            except serializers.ValidationError as error:
                raise serializers.ValidationError({"password": error.detail}) from None
        return attrs


class UserQuery(Query):
    email = TextField(required=False, max_length=254, help_text="The complete address, compared as for uniqueness.")
    search = TextField(
        required=False, max_length=200, help_text="Beginnings of words in name or email. Ignores case and accents."
    )

    def filter_email(self, users: QuerySet[User], email: str) -> QuerySet[User]:
        return services.with_email(users, email)

    def filter_search(self, users: QuerySet[User], words: str) -> QuerySet[User]:
        return services.search_users(users, words)


def _secret(**kwargs: Any) -> StringField:
    """The field for an existing password: its strength is not checked, and it is never returned."""
    style = {"input_type": "password"}
    return StringField(write_only=True, trim_whitespace=False, one_line=False, max_length=128, style=style, **kwargs)


@request_examples({"For instance": {"email": "ada@example.com", "password": "correct horse battery staple"}})
class CredentialsSerializer(Serializer):
    email = StringField(write_only=True, max_length=254)
    password = _secret()


@request_examples(
    {
        "For instance": {
            "email": "boss@example.com",
            "password": "correct horse battery staple",
            "address": "203.0.113.7",
        }
    }
)
class StaffCredentialsSerializer(CredentialsSerializer):
    """``address`` is the person's IP address, as the calling service saw it."""

    address = StringField(write_only=True, max_length=64, allow_blank=True, default="")


@request_examples({"For instance": {"refresh": "F7dvKDor5ZIfJ8DqdAzRt2F1K4ZrMF5UXZjk7u1KUNA"}})
class RefreshSerializer(Serializer):
    refresh = StringField(write_only=True, max_length=200, help_text="Valid for one use.")


class PairSerializer(Serializer):
    access = serializers.CharField(help_text="A JWT, for `Authorization: Bearer …`.")
    refresh = serializers.CharField(help_text="Valid for one use at `/api/auth/refresh`.")
    tokenType = serializers.ChoiceField(choices=["Bearer"])
    expiresIn = serializers.IntegerField(help_text="Lifetime of `access` in seconds.")


@request_examples({"For instance": {"current": "correct horse battery staple", "new": "an even better one, 42"}})
class PasswordChangeSerializer(Serializer):
    current = _secret()
    new = PasswordField(write_only=True, trim_whitespace=False, max_length=128, style={"input_type": "password"})

    def validate_new(self, value: str) -> str:
        return strong(value)


@request_examples({"For instance": {"email": "ada@example.com"}})
class PasswordResetSerializer(Serializer):
    email = StringField(write_only=True, max_length=254)


@request_examples(
    {"For instance": {"token": "F7dvKDor5ZIfJ8DqdAzRt2F1K4ZrMF5UXZjk7u1KUNA", "password": "a new one, 42"}}
)
class PasswordResetConfirmationSerializer(Serializer):
    token = StringField(write_only=True, max_length=200, help_text="From the link in the mail. Valid for one use.")
    password = PasswordField(write_only=True, trim_whitespace=False, max_length=128, style={"input_type": "password"})


@request_examples({"For instance": {"token": "F7dvKDor5ZIfJ8DqdAzRt2F1K4ZrMF5UXZjk7u1KUNA"}})
class EmailVerificationSerializer(Serializer):
    token = StringField(write_only=True, max_length=200, help_text="From the link in the mail. Valid for one use.")


class StaffAccountSerializer(Serializer):
    id = IdField()
    name = serializers.CharField()
    email = serializers.CharField()
    roles = serializers.ListField(child=serializers.ChoiceField(choices=[role.value for role in Role]))
    stamp = serializers.CharField(help_text="Changes with each change of the password.")


class StaffSessionSerializer(StaffAccountSerializer):
    session = serializers.CharField(help_text="The id of the session that the sign-in has begun.")


class KeySerializer(Serializer):
    kty = serializers.CharField()
    crv = serializers.CharField()
    alg = serializers.CharField()
    use = serializers.CharField()
    kid = serializers.CharField()
    x = serializers.CharField()


class KeySetSerializer(Serializer):
    keys = KeySerializer(many=True)
