"""The wire format of webhooks."""

import difflib
from typing import Any

from rest_framework import serializers

from notification_svc.webhooks.targets import problem_of
from platform_core.api import AnyOf, IdField, Query, Serializer, StringField, TimestampField, request_examples
from platform_core.outbox import OutboxMessage
from platform_core.vocabulary import EventType

MAX_EVENTS = 50


class EventTypeField(serializers.ChoiceField):
    """The type of an event. The error for an unknown one names the nearest."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=[str(each) for each in EventType], **kwargs)

    def to_internal_value(self, data: Any) -> str:
        if isinstance(data, str) and data in self.choices:
            return data
        nearest = difflib.get_close_matches(data[:100].lower() if isinstance(data, str) else "", self.choices, n=1)
        hint = f"Did you mean {nearest[0]!r}?" if nearest else f"Known are: {', '.join(self.choices)}."
        raise serializers.ValidationError(f"There is no such type of event. {hint}", code="unknown_event_type")


class EventTypesField(serializers.ListField):
    """Some types of events. Duplicates are dropped."""

    child = EventTypeField()

    def to_internal_value(self, data: Any) -> list[Any]:
        if isinstance(data, list) and len(data) > MAX_EVENTS:  # before each is looked at
            self.fail("max_length", max_length=MAX_EVENTS)
        return list(dict.fromkeys(super().to_internal_value(data)))


@request_examples({"Orders": {"url": "https://example.com/webhooks", "events": ["order.confirmed", "order.cancelled"]}})
class WebhookSerializer(Serializer):
    id = IdField(read_only=True)
    url = StringField(
        max_length=2048, help_text="Where the events are POSTed. In production an https URL of a public host."
    )
    events = EventTypesField(min_length=1, max_length=MAX_EVENTS, help_text="The types of the events to deliver.")
    enabled = serializers.BooleanField(
        default=True, help_text="A disabled webhook gets no events. One that is enabled again gets those from then on."
    )
    failingSince = serializers.DateTimeField(
        source="failing_since",
        read_only=True,
        allow_null=True,
        help_text="The first failure after the last success; null if the last delivery succeeded.",
    )
    disabledReason = serializers.CharField(
        source="disabled_reason", read_only=True, help_text="Why the service disabled it; empty if staff did."
    )
    createdAt = TimestampField(source="created_at", read_only=True)
    updatedAt = TimestampField(source="updated_at", read_only=True)

    def validate_url(self, value: str) -> str:
        problem = problem_of(value)
        if problem:
            raise serializers.ValidationError(problem)
        return value


class WebhookWithSecretSerializer(WebhookSerializer):
    openapi = {"required": list(WebhookSerializer().fields)}  # a repeated answer is without the secret

    secret = serializers.CharField(
        read_only=True,
        help_text="The key for verifying signatures, `whsec_…`. Shown only here; a repeated answer is without it.",
    )


class WebhookDeliverySerializer(Serializer):
    id = IdField(read_only=True)
    messageId = serializers.CharField(source="key", read_only=True, help_text="The `webhook-id` of all its attempts.")
    source = serializers.CharField(source="payload.source", read_only=True)  # type: ignore[assignment]
    eventId = serializers.CharField(source="payload.eventId", read_only=True)
    eventType = serializers.CharField(source="payload.type", read_only=True)
    subject = serializers.CharField(source="payload.subject", read_only=True)
    status = serializers.ChoiceField(source="state", choices=OutboxMessage.State.choices, read_only=True)
    attempts = serializers.IntegerField(read_only=True)
    lastError = serializers.CharField(source="last_error", read_only=True)
    createdAt = TimestampField(source="created_at", read_only=True)
    nextAttemptAt = serializers.DateTimeField(source="next_attempt_at", read_only=True, allow_null=True)
    deliveredAt = serializers.DateTimeField(source="delivered_at", read_only=True, allow_null=True)


class DeliveryQuery(Query):
    status = AnyOf(
        serializers.ChoiceField(choices=OutboxMessage.State.choices),
        source="state",
        help_text="May be repeated; matches any of the values. `dead`: given up, until it is retried.",
    )
