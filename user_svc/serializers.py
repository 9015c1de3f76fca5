"""The wire shape of user-service."""

from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError as PasswordError
from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import serializers

from platform_core.api.fields import IdField, OptionalStringField, StringField
from platform_core.api.queries import PageQuery


class EmailAddressField(serializers.EmailField):
    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return str(super().to_internal_value(data))


class PasswordField(StringField):
    openapi = {"minLength": 8, "format": "password"}


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "A user",
            {"name": "Ada Lovelace", "email": "ada@example.com", "phone": "+44 20 7946 0000", "address": "London"},
            request_only=True,
        )
    ]
)
class UserSerializer(serializers.Serializer[Any]):
    id = IdField(read_only=True)
    name = StringField(max_length=200, help_text="1 to 200 characters.")
    email = EmailAddressField(max_length=254, help_text="Unique, whatever its case.")
    password = PasswordField(
        write_only=True,
        required=False,
        allow_null=True,
        trim_whitespace=False,
        max_length=128,
        style={"input_type": "password"},
        help_text="Without one the account cannot sign in. Not a common one, and not digits alone.",
    )
    phone = OptionalStringField(max_length=50)
    address = OptionalStringField(max_length=500, one_line=False)
    isActive = serializers.BooleanField(source="is_active", read_only=True)
    createdAt = serializers.DateTimeField(source="created_at", read_only=True)
    updatedAt = serializers.DateTimeField(source="updated_at", read_only=True)

    def validate_password(self, value: str | None) -> str | None:
        if value is not None:
            try:
                validate_password(value)
            except PasswordError as error:
                raise serializers.ValidationError(error.messages, code="weak_password") from None
        return value


class UserQuery(PageQuery):
    email = serializers.CharField(required=False, max_length=254, help_text="The whole address, whatever its case.")
    search = serializers.CharField(required=False, max_length=200, help_text="Beginnings of words of name or email.")
