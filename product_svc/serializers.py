"""The wire format of product-service."""

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers

from platform_core.api import (
    AnyOf,
    CurrencyField,
    IdField,
    MoneyField,
    OptionalStringField,
    OrderingField,
    Query,
    Serializer,
    StringField,
    TextField,
    TimestampField,
    TrueField,
    WholeField,
    request_examples,
)
from platform_core.db import alike_key
from product_svc.models import Product, StockMovement, StockReservation
from product_svc.search import by_relevance, search_products
from product_svc.stock_levels import MAX_STOCK, SOLD_OUT

MAX_AT_ONCE = 1000
RELEVANCE = "relevance"


class SkuField(StringField):
    """A sku. It is optional and unique; an empty string means no sku."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"allow_blank": True, "allow_null": True, "default": None, "max_length": 64, **kwargs})

    def run_validation(self, data: Any = serializers.empty) -> str | None:
        return super().run_validation(data) or None


@request_examples(
    {
        "A product": {
            "name": "Desk lamp",
            "price": 49.9,
            "stock": 100,
            "category": "lights",
            "description": "Bends any way.",
        }
    }
)
class ProductSerializer(Serializer):
    id = IdField(read_only=True)
    name = StringField(max_length=200, help_text="1 to 200 characters.")
    description = OptionalStringField(max_length=5000, one_line=False)
    category = OptionalStringField(max_length=100)
    sku = SkuField(help_text="Unique, if given.")
    price = MoneyField()
    currency = CurrencyField()
    stock = WholeField(
        min_value=0,
        max_value=MAX_STOCK,
        required=False,
        help_text="The pieces that can be sold now. A change is recorded as an adjustment.",
    )
    lowStockThreshold = WholeField(
        source="low_stock_threshold",
        min_value=0,
        max_value=MAX_STOCK,
        allow_null=True,
        default=None,
        help_text="The stock counts as low at this many pieces or fewer. Null: as for the whole shop.",
    )
    createdAt = TimestampField(source="created_at", read_only=True)
    updatedAt = TimestampField(source="updated_at", read_only=True)


@request_examples(
    {
        "Two products": {
            "items": [
                {"name": "Desk lamp", "price": 49.9, "stock": 100, "sku": "LAMP-1"},
                {"name": "Floor lamp", "price": 89, "stock": 12, "sku": "LAMP-2", "category": "lights"},
            ]
        }
    }
)
class ProductsSerializer(Serializer):
    items = ProductSerializer(many=True, write_only=True, min_length=1, max_length=MAX_AT_ONCE)  # type: ignore[call-arg]
    results = ProductSerializer(many=True, read_only=True, help_text="In the order of the items.")


class Categories(AnyOf):
    """Values that the filter does not distinguish count once."""

    def to_internal_value(self, data: list[Any]) -> list[str]:
        return list({alike_key(value): value for value in super().to_internal_value(data)}.values())


class ProductQuery(Query):
    search = TextField(
        required=False,
        max_length=200,
        help_text="Words that must all be in name, sku, category or description. Ignores case and accents. The last "
        "word may be the beginning of a word of name, sku or category; descriptions are searched by English stems.",
    )
    sku = TextField(required=False, max_length=64, help_text="The complete sku.")
    category = Categories(
        TextField(max_length=100),
        source="category__alike",
        help_text="Ignores case. May be repeated; matches any of the values.",
    )
    minPrice = MoneyField(source="price__gte", required=False)
    maxPrice = MoneyField(source="price__lte", required=False)
    inStock = TrueField(required=False)
    ordering = OrderingField(
        {"createdAt": "id", "price": "price", "name": "name", "stock": "stock_level,stock"},
        default="-createdAt",
        one_way={RELEVANCE: "-relevance"},
        required=False,
        help_text="The default is `-createdAt`; with `search` it is `relevance`, which orders the newest 1000 matches.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("ordering") == RELEVANCE and "search" not in attrs:
            raise serializers.ValidationError({"ordering": "Relevance needs `search`."}, code="invalid")
        return attrs

    @property
    def order(self) -> str | None:
        is_relevance = "search" in self.validated_data and "ordering" not in self.validated_data
        return "-relevance" if is_relevance else super().order

    def filter(self, queryset: QuerySet[Product]) -> QuerySet[Product]:
        """Ranks what all other filters leave."""
        found = super().filter(queryset)
        return by_relevance(found, self.validated_data["search"]) if self.order == "-relevance" else found

    def filter_search(self, products: QuerySet[Product], words: str) -> QuerySet[Product]:
        return products if self.order == "-relevance" else search_products(products, words)

    def filter_inStock(self, products: QuerySet[Product], wanted: bool) -> QuerySet[Product]:
        return products.filter(stock_level__gt=SOLD_OUT) if wanted else products.filter(stock_level=SOLD_OUT)


@request_examples({"A delivery": {"delta": 25, "reason": "received", "note": "half of the delivery"}})
class StockMovementSerializer(Serializer):
    id = IdField(read_only=True)
    productId = IdField(source="product_id", read_only=True)
    delta = WholeField(min_value=-MAX_STOCK, max_value=MAX_STOCK, help_text="Pieces added or taken; not 0.")
    kind = serializers.ChoiceField(choices=StockMovement.Reason.choices, read_only=True)
    reason = OptionalStringField(max_length=200)
    note = OptionalStringField(max_length=500)
    actor = serializers.CharField(
        read_only=True,
        help_text="Who moved the stock, such as `user:7` or `service:order-service`. Empty for old movements.",
    )
    orderId = IdField(source="order_id", read_only=True, allow_null=True)
    stock = serializers.IntegerField(read_only=True, help_text="The stock after the movement.")
    createdAt = TimestampField(source="created_at", read_only=True)

    def validate_delta(self, value: int) -> int:
        if value == 0:
            raise serializers.ValidationError("Expected a number other than 0.", code="zero")
        return value


class NewestReservationSerializer(Serializer):
    orderId = IdField(read_only=True, allow_null=True)


class ReservationItemSerializer(Serializer):
    productId = IdField(source="product_id")
    name = serializers.CharField(read_only=True)
    unitPrice = MoneyField(source="unit_price", read_only=True)
    quantity = WholeField(min_value=1, max_value=100_000_000)


@request_examples({"Two pieces": {"items": [{"productId": "1", "quantity": 2}]}})
class ReservationSerializer(Serializer):
    orderId = IdField(source="order_id", read_only=True)
    status = serializers.ChoiceField(choices=StockReservation.Status.choices, read_only=True)
    currency = CurrencyField()
    items = ReservationItemSerializer(source="lines", many=True, min_length=1, max_length=100)  # type: ignore[call-arg]
