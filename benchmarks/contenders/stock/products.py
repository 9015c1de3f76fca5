"""product-service."""

from django.db import IntegrityError, transaction
from django.db.models import Count, F, Q, Sum
from django.utils.timezone import now
from rest_framework.decorators import api_view
from rest_framework.response import Response
from rest_framework.viewsets import ModelViewSet

from benchmarks.contenders.stock.errors import Conflict, Unprocessable
from benchmarks.contenders.stock.events import append
from benchmarks.contenders.stock.models import Product, ReservationLine, StockMovement, StockReservation
from benchmarks.contenders.stock.serializers import (
    ItemsSerializer,
    MoneyField,
    ProductSerializer,
    ReservationSerializer,
)


class ProductViewSet(ModelViewSet):
    serializer_class = ProductSerializer
    http_method_names = ["get", "post", "head", "options"]
    lookup_value_regex = "[0-9]{1,18}"

    def get_queryset(self):
        products = Product.objects.filter(deleted_at=None)
        params = self.request.query_params
        if "category" in params:
            products = products.filter(category=params["category"])
        if "minPrice" in params:
            products = products.filter(price__gte=MoneyField().run_validation(params["minPrice"]))
        return products

    def perform_create(self, serializer):
        try:
            with transaction.atomic():
                product = serializer.save(sku=serializer.validated_data.get("sku") or None)
                if product.stock:
                    StockMovement.objects.create(
                        product=product, delta=product.stock, stock=product.stock, kind="initial"
                    )
                append("product.created", product.pk, snapshot(product))
        except IntegrityError:
            raise Conflict("sku_taken", "Another product has this sku.") from None

    def get_success_headers(self, data):
        return {"Location": f"/api/products/{data['id']}"}


def snapshot(product):
    answer = ProductSerializer(product).data
    return {
        "version": product.version,
        **{name: answer[name] for name in ("name", "category", "price", "stock", "createdAt")},
    }


@api_view(["PUT"])
def stock_reservation(request, order_id):
    serializer = ItemsSerializer(data=request.data)
    serializer.is_valid(raise_exception=True)
    quantities = {}
    for item in serializer.validated_data["items"]:
        quantities[item["productId"]] = quantities.get(item["productId"], 0) + item["quantity"]
    reservation, created = reserve(order_id, quantities)
    return Response(ReservationSerializer(reservation).data, status=201 if created else 200)


@transaction.atomic
def reserve(order_id, quantities):
    reservation, created = StockReservation.objects.get_or_create(order_id=order_id)
    if created:
        for product_id in sorted(quantities):  # in id order, so that two reservations cannot deadlock
            take(reservation, product_id, quantities[product_id])
    elif reservation.status == "released":
        raise Conflict("reservation_released", "The reservation of this order was released.")
    elif {line.product_id: line.quantity for line in reservation.lines.all()} != quantities:
        raise Conflict("reservation_conflict", "This order has reserved other items before.")
    return reservation, created


def take(reservation, product_id, quantity):
    enough = Product.objects.filter(pk=product_id, deleted_at=None, stock__gte=quantity)
    taken = enough.update(stock=F("stock") - quantity, version=F("version") + 1, updated_at=now())
    product = Product.objects.filter(pk=product_id, deleted_at=None).first()
    if product is None:
        raise Unprocessable("unknown_product", f"There is no product {product_id}.", productId=str(product_id))
    if not taken:
        detail = f"{quantity} wanted, {product.stock} in stock."
        raise Conflict("insufficient_stock", detail, productId=str(product_id), available=product.stock)
    ReservationLine.objects.create(
        reservation=reservation, product=product, name=product.name, unit_price=product.price, quantity=quantity
    )
    StockMovement.objects.create(
        product=product, delta=-quantity, stock=product.stock, kind="reservation", order_id=reservation.order_id
    )
    cause = {"delta": -quantity, "reason": "reservation", "orderId": str(reservation.order_id)}
    append("stock.changed", product.pk, {**snapshot(product), **cause})


@api_view()
def stats(request):
    found = Product.objects.filter(deleted_at=None).aggregate(
        total=Count("id"),
        outOfStock=Count("id", filter=Q(stock=0)),
        stockUnits=Sum("stock"),
        stockValue=Sum(F("stock") * F("price")),
    )
    return Response({**found, "stockUnits": found["stockUnits"] or 0, "stockValue": float(found["stockValue"] or 0)})
