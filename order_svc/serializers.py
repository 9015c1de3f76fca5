"""The wire format of order-service."""

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from order_svc.explaining.diagnosis import Mood
from order_svc.explaining.timeline import State
from order_svc.models import Order
from platform_core.api import (
    AnyOf,
    IdField,
    MoneyField,
    Part,
    Query,
    Serializer,
    TimestampField,
    WholeField,
    request_examples,
)
from platform_core.outbox import OutboxMessage
from platform_core.vocabulary import NotificationStatus, ReservationStatus

MAX_QUANTITY = 1_000_000


class OrderLineSerializer(Serializer):
    productId = IdField(source="product_id")
    name = serializers.CharField(read_only=True, allow_null=True)
    unitPrice = MoneyField(source="unit_price", read_only=True, allow_null=True)
    quantity = WholeField(min_value=1, max_value=MAX_QUANTITY)
    subtotal = MoneyField(read_only=True, allow_null=True)


class CustomerSerializer(Part):
    """The customer at the moment of the confirmation."""

    name = serializers.CharField(source="customer_name", read_only=True)
    email = serializers.CharField(source="customer_email", read_only=True)
    address = serializers.CharField(source="customer_address", read_only=True)


class OrderSerializer(Serializer):
    """An order, as in responses."""

    id = IdField(read_only=True)
    userId = IdField(source="user_id")
    status = serializers.ChoiceField(choices=Order.Status.choices, read_only=True)
    customer = CustomerSerializer(
        source="*",
        read_only=True,
        allow_null=True,
        help_text="Name, email and address when the order was confirmed. Null before, and after the person was erased.",
    )
    items = OrderLineSerializer(source="lines", many=True)
    total = MoneyField(read_only=True, allow_null=True)
    currency = serializers.CharField(read_only=True)
    reason = serializers.CharField(read_only=True, help_text="Why the order was rejected, otherwise empty.")
    createdAt = TimestampField(source="created_at", read_only=True)
    updatedAt = TimestampField(source="updated_at", read_only=True)


@extend_schema_serializer(component_name="OrderItem")
class OrderItemInput(Serializer):
    productId = IdField()
    quantity = WholeField(min_value=1, max_value=MAX_QUANTITY)


@extend_schema_serializer(component_name="Order")
@request_examples(
    {
        "Several products": {
            "userId": "1",
            "items": [{"productId": "1", "quantity": 2}, {"productId": "2", "quantity": 1}],
        },
        "One product": {"userId": "1", "productId": "1", "quantity": 2},
    }
)
class OrderInput(Serializer):
    """An order, as in requests: for one product with `productId` and `quantity`, or for several with `items`.

    One of the two must be sent, and not both.
    """

    userId = IdField()
    productId = IdField(required=False, help_text="Together with `quantity`, in place of `items`.")
    quantity = WholeField(
        required=False, min_value=1, max_value=MAX_QUANTITY, help_text="Together with `productId`, in place of `items`."
    )
    items = OrderItemInput(  # type: ignore[call-arg]
        many=True,
        required=False,
        min_length=1,
        max_length=100,
        help_text="In place of `productId` and `quantity`. Items of one product are summed.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        given = [name for name in ("productId", "quantity") if name in attrs]
        if attrs.get("items"):
            if given:
                raise serializers.ValidationError({given[0]: ["Give either this or items."]}, code="ambiguous")
            return attrs
        missing = [name for name in ("productId", "quantity") if name not in attrs]
        if missing:
            raise serializers.ValidationError({name: ["This field is required."] for name in missing}, code="required")
        return attrs


def lines_of(order: dict[str, Any]) -> list[tuple[int, int]]:
    """The lines of a valid OrderInput in their order, as ``(product id, quantity)``."""
    items = order.get("items") or [{"productId": order["productId"], "quantity": order["quantity"]}]
    return [(item["productId"], item["quantity"]) for item in items]


def page_path(order_id: int) -> str:
    return f"/orders/{order_id}/explain"


class VerdictSerializer(Serializer):
    text = serializers.CharField(help_text="One sentence for people.")
    mood = serializers.ChoiceField(
        choices=[mood.value for mood in Mood], help_text="`stuck`: an operator should look at the order."
    )


@extend_schema_serializer(component_name="TimelineEntry")
class MomentSerializer(Serializer):
    name = serializers.CharField(help_text="Such as `stock` or `outbox.release`.")
    title = serializers.CharField()
    service = serializers.CharField()
    state = serializers.ChoiceField(choices=[state.value for state in State])
    at = serializers.DateTimeField(allow_null=True, help_text="Null if it has not happened.")
    durationMs = serializers.FloatField(source="duration_ms", allow_null=True)
    attempts = serializers.IntegerField(allow_null=True)
    detail = serializers.CharField()
    by = serializers.CharField(
        help_text="Who caused a change of status: the customer, a name of the staff, or a part of the system. "
        "Empty for other steps, and if it was not recorded."
    )


class HeldItemSerializer(Serializer):
    productId = serializers.CharField(source="product_id")
    name = serializers.CharField()
    unitPrice = MoneyField(source="unit_price")
    quantity = serializers.IntegerField()


class HeldStockSerializer(Serializer):
    status = serializers.CharField(help_text=" or ".join(f"`{status}`" for status in ReservationStatus.values) + ".")
    items = HeldItemSerializer(many=True)


class OutboxSerializer(Serializer):
    key = serializers.CharField()
    kind = serializers.CharField()
    destination = serializers.CharField()
    state = serializers.ChoiceField(choices=OutboxMessage.State.choices)
    attempts = serializers.IntegerField()
    createdAt = serializers.DateTimeField(source="created_at")
    nextAttemptAt = serializers.DateTimeField(source="next_attempt_at", allow_null=True)
    deliveredAt = serializers.DateTimeField(source="delivered_at", allow_null=True)
    lastError = serializers.CharField(source="last_error")


class CustomerNoticeSerializer(Serializer):
    """A message to the customer that was handed over to notification-service."""

    key = serializers.CharField()
    status = serializers.ChoiceField(choices=[*NotificationStatus.values, "none", "unknown"])
    id = serializers.CharField(source="found.id", default=None, allow_null=True)
    channel = serializers.CharField(source="found.channel", default=None, allow_null=True)
    attempts = serializers.IntegerField(source="found.attempts", default=None, allow_null=True)
    lastError = serializers.CharField(source="found.last_error", default=None, allow_null=True)
    createdAt = serializers.DateTimeField(source="found.created_at", default=None, allow_null=True)
    sentAt = serializers.DateTimeField(source="found.sent_at", default=None, allow_null=True)


class TraceSerializer(Serializer):
    requestId = serializers.CharField(source="request_id")
    traceId = serializers.CharField(source="trace_id")
    of = serializers.ListField(child=serializers.CharField(), help_text="What the request did to the order.")


class LogSearchSerializer(Serializer):
    grep = serializers.CharField()
    jq = serializers.CharField()


class OperationSerializer(Serializer):
    name = serializers.CharField()
    title = serializers.CharField()
    why = serializers.CharField()
    loses = serializers.CharField(help_text="What cannot be undone, otherwise empty.")


class ExplanationSerializer(Serializer):
    """The history and the present state of one order across the services."""

    order = OrderSerializer()
    asOf = serializers.DateTimeField(source="as_of")
    verdict = VerdictSerializer(source="diagnosis")
    unknown = serializers.ListField(child=serializers.CharField(), help_text="Services that did not answer.")
    timeline = MomentSerializer(many=True)
    reservation = HeldStockSerializer(
        allow_null=True, help_text="Null if there is none, or if product-service did not answer."
    )
    outbox = OutboxSerializer(many=True)
    notifications = CustomerNoticeSerializer(many=True)
    requests = TraceSerializer(source="traces", many=True)
    logs = LogSearchSerializer(help_text="Commands that filter the services' logs on standard input.")
    operations = OperationSerializer(many=True, help_text="The operations that are safe now.")
    page = serializers.SerializerMethodField(help_text="URL of the same as a page.")

    def get_page(self, explanation: Any) -> str:
        return str(self.context["request"].build_absolute_uri(page_path(explanation.order.pk)))


class OrderQuery(Query):
    userId = IdField(source="user_id", required=False)
    status = AnyOf(
        serializers.ChoiceField(choices=Order.Status.choices),
        help_text="May be repeated; matches any of the values.",
    )
    createdAfter = TimestampField(source="created_at__gt", required=False)
    createdBefore = TimestampField(source="created_at__lt", required=False)
