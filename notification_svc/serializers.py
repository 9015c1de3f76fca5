"""The wire format of notification-service."""

from typing import Any

from django.core.validators import validate_email
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from notification_svc.models import Notification
from platform_core.api import (
    AnyOf,
    IdField,
    OptionalStringField,
    Query,
    Serializer,
    StringField,
    TimestampField,
    encode,
    request_examples,
)
from platform_core.clients import MAX_DATA_BYTES

TYPE_PATTERN = r"^[a-z][a-z0-9_.]{0,63}\Z"
KEY_PATTERN = r"^[\x20-\x7e]{1,255}\Z"
NOT_YET = "not delivered yet"
GIVEN_UP = "could not be delivered"
_SEVERAL = "May be repeated; matches any of the values."


@extend_schema_field({"type": "object", "additionalProperties": {}})
class DataField(serializers.Field[str, Any, Any, Any]):
    """An object of at most 16 KiB, stored as the text of its JSON."""

    default_error_messages = {
        "invalid": "Expected an object.",
        "max_length": f"The object has more than {MAX_DATA_BYTES} bytes as JSON in UTF-8.",
    }

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, dict):
            self.fail("invalid")
        encoded = encode(data)
        if len(encoded) > MAX_DATA_BYTES:
            self.fail("max_length")
        return encoded.decode()


@request_examples(
    {
        "A message": {
            "userId": "1",
            "subject": "Hello",
            "message": "Your parcel is ready for collection.",
            "channel": "email",
        }
    }
)
class NotificationSerializer(Serializer):
    id = IdField(read_only=True)
    userId = IdField(source="user_id")
    type = serializers.RegexField(
        TYPE_PATTERN, default="message", help_text="A word such as `order_confirmed`: a-z, 0-9, _ and ., at most 64."
    )
    channel = serializers.ChoiceField(choices=Notification.Channel.choices, default=Notification.Channel.EMAIL)
    recipient = OptionalStringField(
        max_length=254,
        help_text="Default: the user's email address at the time of delivery. Filled when the message was delivered.",
    )
    subject = OptionalStringField(max_length=200)
    message = StringField(max_length=32_768, one_line=False, trim_whitespace=False)
    confidential = serializers.BooleanField(
        write_only=True,
        default=False,
        help_text="The text is kept encrypted until it is delivered, then erased. Answers have another text instead.",
    )
    data = DataField(  # type: ignore[assignment]  # DRF takes fields out of the class: `data` stays its property
        write_only=True,
        required=False,
        help_text="An object of at most 16 KiB as JSON, for the template of this type of mail (docs/mails.md).",
    )
    status = serializers.ChoiceField(choices=Notification.Status.choices, read_only=True)
    attempts = serializers.IntegerField(read_only=True)
    lastError = serializers.CharField(source="last_error", read_only=True, allow_null=True)
    createdAt = TimestampField(source="created_at", read_only=True)
    sentAt = serializers.DateTimeField(source="sent_at", read_only=True, allow_null=True)

    def validate_message(self, value: str) -> str:
        if not value.strip():
            raise serializers.ValidationError("This field may not be blank.", code="blank")
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["channel"] == Notification.Channel.EMAIL and attrs["recipient"]:
            try:
                validate_email(attrs["recipient"])
            except Exception:
                raise serializers.ValidationError({"recipient": ["Enter a valid email address."]}) from None
        return attrs


class OwnNotificationSerializer(NotificationSerializer):
    lastError = serializers.SerializerMethodField(method_name="shown_error")  # type: ignore[assignment]

    def shown_error(self, notification: Notification) -> str | None:
        """What a customer is told. The words of servers and of our code are for the staff."""
        if notification.last_error is None:
            return None
        return GIVEN_UP if notification.status == Notification.Status.FAILED else NOT_YET


class NotificationQuery(Query):
    status = AnyOf(serializers.ChoiceField(choices=Notification.Status.choices), help_text=_SEVERAL)
    type = AnyOf(serializers.RegexField(TYPE_PATTERN), help_text=_SEVERAL)
    channel = AnyOf(serializers.ChoiceField(choices=Notification.Channel.choices), help_text=_SEVERAL)
    senderKey = serializers.RegexField(
        KEY_PATTERN,
        source="sender_key",
        required=False,
        trim_whitespace=False,
        help_text="The Idempotency-Key of the request that sent the message.",
    )
