"""The wire's shapes: camelCase names, ids as strings, money as numbers."""

from rest_framework import serializers

from benchmarks.contenders.stock.models import Order, OrderLine, Product, ReservationLine, StockReservation, User


class MoneyField(serializers.DecimalField):
    def __init__(self, **kwargs):
        super().__init__(**{"max_digits": 12, "decimal_places": 2, "min_value": 0, **kwargs})

    def to_representation(self, value):
        return None if value is None else float(value)


class UserSerializer(serializers.ModelSerializer):
    id = serializers.CharField(read_only=True)
    isActive = serializers.BooleanField(source="is_active", read_only=True)
    createdAt = serializers.DateTimeField(source="created_at", read_only=True)
    updatedAt = serializers.DateTimeField(source="updated_at", read_only=True)

    class Meta:
        model = User
        fields = ("id", "name", "email", "phone", "address", "isActive", "createdAt", "updatedAt")


class ProductSerializer(serializers.ModelSerializer):
    id = serializers.CharField(read_only=True)
    price = MoneyField()
    stock = serializers.IntegerField(min_value=0, max_value=2**31 - 1, default=0)
    createdAt = serializers.DateTimeField(source="created_at", read_only=True)
    updatedAt = serializers.DateTimeField(source="updated_at", read_only=True)

    class Meta:
        model = Product
        fields = ("id", "name", "description", "category", "sku", "price", "stock", "createdAt", "updatedAt")


class ReservationLineSerializer(serializers.ModelSerializer):
    productId = serializers.CharField(source="product_id")
    unitPrice = MoneyField(source="unit_price", read_only=True)

    class Meta:
        model = ReservationLine
        fields = ("productId", "name", "unitPrice", "quantity")


class ReservationSerializer(serializers.ModelSerializer):
    orderId = serializers.CharField(source="order_id")
    items = ReservationLineSerializer(source="lines", many=True)

    class Meta:
        model = StockReservation
        fields = ("orderId", "status", "items")


class OrderLineSerializer(serializers.ModelSerializer):
    productId = serializers.CharField(source="product_id")
    unitPrice = MoneyField(source="unit_price")
    subtotal = MoneyField(max_digits=20)

    class Meta:
        model = OrderLine
        fields = ("productId", "name", "unitPrice", "quantity", "subtotal")


class OrderSerializer(serializers.ModelSerializer):
    id = serializers.CharField()
    userId = serializers.CharField(source="user_id")
    items = OrderLineSerializer(source="lines", many=True)
    total = MoneyField(max_digits=24)
    createdAt = serializers.DateTimeField(source="created_at")
    updatedAt = serializers.DateTimeField(source="updated_at")

    class Meta:
        model = Order
        fields = ("id", "userId", "status", "items", "total", "currency", "reason", "createdAt", "updatedAt")


class ItemSerializer(serializers.Serializer):
    productId = serializers.IntegerField(min_value=0, max_value=2**63 - 1)
    quantity = serializers.IntegerField(min_value=1, max_value=1_000_000)


class ItemsSerializer(serializers.Serializer):
    items = ItemSerializer(many=True, allow_empty=False, max_length=100)


class NewOrderSerializer(serializers.Serializer):
    userId = serializers.IntegerField(min_value=0, max_value=2**63 - 1)
    items = ItemSerializer(many=True, required=False, max_length=100)
    productId = serializers.IntegerField(min_value=0, max_value=2**63 - 1, required=False)
    quantity = serializers.IntegerField(min_value=1, max_value=1_000_000, required=False)

    def validate(self, attrs):
        if not attrs.get("items"):
            if "productId" not in attrs or "quantity" not in attrs:
                raise serializers.ValidationError("Give items, or productId and quantity.")
            attrs["items"] = [{"productId": attrs["productId"], "quantity": attrs["quantity"]}]
        return attrs
