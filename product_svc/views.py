"""The API of product-service."""

from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.mixins import ListModelMixin
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response

from platform_core.api import (
    AlreadyExists,
    ResourceViewSet,
    creates_only,
    declared,
    etag,
    expected_tags,
    expected_versions,
    idempotent,
)
from platform_core.conf import reached
from platform_core.http import NotFound, PreconditionFailed
from product_svc import bulk, reservations, services
from product_svc.models import Product, StockMovement, StockReservation
from product_svc.serializers import (
    NewestReservationSerializer,
    ProductQuery,
    ProductSerializer,
    ProductsSerializer,
    ReservationSerializer,
    StockMovementSerializer,
)


class ProductViewSet(ListModelMixin, ResourceViewSet):
    """The catalog."""

    queryset = services.live_products()
    serializer_class = ProductSerializer
    query_class = ProductQuery

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """The catalog is the same for everybody."""
        answer = super().finalize_response(request, response, *args, **kwargs)
        is_data = getattr(answer, "accepted_media_type", "").startswith("application/json")
        if request.method in SAFE_METHODS and answer.status_code in (200, 304) and is_data:
            age = settings.CATALOG_MAX_AGE
            answer.headers["Cache-Control"] = f"public, max-age={age}" if age else "public, no-cache"
        return answer

    def list(self, request: Request) -> Response:
        """Products, newest first, or in the order of `ordering`."""
        return super().list(request)

    def retrieve(self, request: Request, pk: int) -> Response:
        """One product."""
        return self.shown(self.get_object())

    @idempotent
    def create(self, request: Request) -> Response:
        """Add a product. 409 `sku_taken`: another product has the sku."""
        return self.answer(services.create_product(**self.validated()), status=201)

    def update(self, request: Request, pk: int) -> Response:
        """Replace a product. An omitted stock is kept."""
        return self.change(request)

    def partial_update(self, request: Request, pk: int) -> Response:
        """Change parts of a product."""
        return self.change(request, partial=True)

    def change(self, request: Request, *, partial: bool = False) -> Response:
        product = self.get_object()
        changes = self.validated(product, partial=partial)
        return self.answer(services.update_product(product.pk, expected_versions(request), **changes))

    def destroy(self, request: Request, pk: int) -> Response:
        """Delete a product. Its sku can be used again."""
        services.delete_product(self.get_object().pk, expected_versions(request))
        return Response(status=204)


class ProductBulkViewSet(ResourceViewSet):
    """Many products at once."""

    queryset = Product.objects.all()
    serializer_class = ProductsSerializer

    @extend_schema(operation_id="createProducts")
    @idempotent
    def create(self, request: Request) -> Response:
        """Add up to 1000 products, all or none. 409 `sku_taken` names items whose sku is taken or appears twice."""
        products = bulk.create_products(self.validated()["items"])
        return Response(self.get_serializer({"results": products}).data, status=201)


class StockAdjustmentViewSet(ListModelMixin, ResourceViewSet):
    """The movements of a product's stock."""

    queryset = StockMovement.objects.all()
    serializer_class = StockMovementSerializer

    def get_queryset(self) -> QuerySet[StockMovement]:
        """Adjustments of existing products; a deleted product has none."""
        movements = super().get_queryset()
        return movements.filter(product_id=self.kwargs["product_id"], product__deleted_at=None)

    def list(self, request: Request, product_id: int) -> Response:
        """All movements of a product's stock, newest first."""
        response = super().list(request)
        if not response.data["results"] and not services.live_products().filter(pk=product_id).exists():
            raise NotFound()
        return response

    @idempotent
    def create(self, request: Request, product_id: int) -> Response:
        """Add or remove pieces. 409 `insufficient_stock`: the stock would fall below zero."""
        movement = services.adjust_stock(product_id, **self.validated())
        return Response(self.get_serializer(movement).data, status=201)


class ReservationViewSet(ResourceViewSet):
    """The stock that is reserved for orders. The key is the order's id."""

    queryset = declared(StockReservation, prefetch=["lines"])
    serializer_class = ReservationSerializer
    lookup_field = "order_id"

    @extend_schema(operation_id="getNewestReservation", responses={200: NewestReservationSerializer})
    def newest(self, request: Request) -> Response:
        """The highest order id for which there was ever a reservation; null if there is none."""
        order_id = StockReservation.objects.order_by("-pk").values_list("pk", flat=True).first()
        return Response(NewestReservationSerializer({"orderId": order_id}).data)

    def retrieve(self, request: Request, order_id: int) -> Response:
        """The reservation of an order. It may have been released."""
        reservation = self.get_object()
        return self.shown(reservation, tag=reservation.status)

    @extend_schema(
        operation_id="reserveStock",
        responses={200: ReservationSerializer, 201: ReservationSerializer, 422: None},
    )
    def update(self, request: Request, order_id: int) -> Response:
        """Reserve the stock of an order, all or nothing. A repetition returns 200."""
        items = [(item["product_id"], item["quantity"]) for item in self.validated()["lines"]]
        self.check_preconditions(request, order_id)
        reserved = reservations.reserve(order_id, items)
        if creates_only(request) and not reserved.is_new:  # made since the check
            raise AlreadyExists()
        reached("reservation.taken")
        data: Any = self.represented(reserved.reservation, lines=reserved.lines)
        headers = {"ETag": etag(reserved.reservation.status)}
        return Response(data, status=201 if reserved.is_new else 200, headers=headers)

    @extend_schema(operation_id="releaseStock")
    def destroy(self, request: Request, order_id: int) -> Response:
        """Release the stock of an order. It can be repeated. A later reserve is refused."""
        self.check_preconditions(request, order_id)
        reservations.release(order_id)
        reached("reservation.released")
        return Response(status=204)

    def check_preconditions(self, request: Request, order_id: int) -> None:
        """A reservation only changes from reserved to released, so a release after this check does no harm."""
        tags = expected_tags(request)
        if tags is None and not creates_only(request):
            return
        status = StockReservation.objects.filter(order_id=order_id).values_list("status", flat=True).first()
        if tags is not None and etag(status) not in tags:
            raise PreconditionFailed()
        if creates_only(request) and status is not None:
            raise AlreadyExists()
