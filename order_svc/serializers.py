"""The wire shape of order-service."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import serializers

from order_svc.models import Order
from platform_core.api.fields import IdField, MoneyField, TimestampField, WholeField
from platform_core.api.queries import PageQuery

MAX_QUANTITY = 1_000_000


class OrderLineSerializer(serializers.Serializer[Any]):
    productId = IdField(source="product_id")
    name = serializers.CharField(read_only=True, allow_null=True)
    unitPrice = MoneyField(source="unit_price", read_only=True, allow_null=True)
    quantity = WholeField(min_value=1, max_value=MAX_QUANTITY)
    subtotal = MoneyField(read_only=True, allow_null=True)


class OrderSerializer(serializers.Serializer[Any]):
    """An order as it is answered."""

    id = IdField(read_only=True)
    userId = IdField(source="user_id")
    status = serializers.ChoiceField(choices=Order.Status.choices, read_only=True)
    items = OrderLineSerializer(source="lines", many=True)
    total = MoneyField(read_only=True, allow_null=True)
    currency = serializers.CharField(read_only=True)
    reason = serializers.CharField(read_only=True, help_text="Why it was rejected; else empty.")
    createdAt = serializers.DateTimeField(source="created_at", read_only=True)
    updatedAt = serializers.DateTimeField(source="updated_at", read_only=True)


@extend_schema_serializer(component_name="OrderItem")
class OrderItemInput(serializers.Serializer[Any]):
    productId = IdField()
    quantity = WholeField(min_value=1, max_value=MAX_QUANTITY)


@extend_schema_serializer(
    component_name="Order",
    examples=[
        OpenApiExample(
            "Several products",
            {"userId": "1", "items": [{"productId": "1", "quantity": 2}, {"productId": "2", "quantity": 1}]},
            request_only=True,
        ),
        OpenApiExample("One product", {"userId": "1", "productId": "1", "quantity": 2}, request_only=True),
    ],
)
class OrderInput(serializers.Serializer[Any]):
    """An order as it is asked for: `productId` and `quantity`, or `items`."""

    openapi = {
        "oneOf": [
            {"required": ["items"], "properties": {"productId": False, "quantity": False}},
            {"required": ["productId", "quantity"], "properties": {"items": False}},
        ]
    }

    userId = IdField()
    productId = IdField(required=False, help_text="For one product; for several, use `items`.")
    quantity = WholeField(required=False, min_value=1, max_value=MAX_QUANTITY)
    items = OrderItemInput(many=True, required=False, min_length=1, max_length=100)  # type: ignore[call-arg]

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

    def lines(self) -> list[tuple[int, int]]:
        """The lines as they came, ``(product id, pieces)``."""
        data = self.validated_data
        items = data.get("items") or [{"productId": data["productId"], "quantity": data["quantity"]}]
        return [(item["productId"], item["quantity"]) for item in items]


class OrderQuery(PageQuery):
    userId = IdField(source="user_id", required=False)
    status = serializers.ChoiceField(choices=Order.Status.choices, required=False)
    createdAfter = TimestampField(source="created_after", required=False)
    createdBefore = TimestampField(source="created_before", required=False)
