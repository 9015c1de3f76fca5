"""The API of product-service."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from platform_core.api.conditional import etag, expected_tags
from platform_core.api.idempotency import idempotent
from platform_core.api.pages import Ordering
from platform_core.api.reading import reader_of
from platform_core.api.views import ResourceViewSet
from platform_core.errors import NotFound, PreconditionFailed
from platform_core.failpoints import reached
from product_svc import bulk, reservations, services
from product_svc.models import Product, StockMovement, StockReservation
from product_svc.serializers import (
    ProductQuery,
    ProductSerializer,
    ProductsSerializer,
    ReservationSerializer,
    StockMovementSerializer,
)

_COLUMNS = {"createdAt": "id", "-createdAt": "-id"}


class ProductViewSet(ResourceViewSet):
    """The catalog."""

    queryset = services.live_products()
    serializer_class = ProductSerializer
    query_class = ProductQuery

    def list(self, request: Request) -> Response:
        """Products, newest first or as `ordering` says."""
        query = self.query(request)
        wanted = query["ordering"]
        return self.page(services.find_products, query, Ordering.parse(_COLUMNS.get(wanted, wanted)))

    def retrieve(self, request: Request, pk: int) -> Response:
        """One product."""
        return self.one(request, pk=pk)

    @idempotent
    def create(self, request: Request) -> Response:
        """Add a product. 409 `sku_taken` when another one has the sku."""
        return self.answer(services.create_product(**self.body(request)), status=201)

    def update(self, request: Request, pk: int) -> Response:
        """Replace a product; a stock that is left out stays."""
        return self.answer(services.update_product(pk, self.expected(request), **self.body(request)))

    def partial_update(self, request: Request, pk: int) -> Response:
        """Change parts of a product."""
        return self.answer(services.update_product(pk, self.expected(request), **self.body(request, partial=True)))

    def destroy(self, request: Request, pk: int) -> Response:
        """Delete a product; the sku is free again."""
        services.delete_product(pk, self.expected(request))
        return Response(status=204)


class ProductBulkViewSet(ResourceViewSet):
    """Many products at once."""

    queryset = Product.objects.all()
    serializer_class = ProductsSerializer

    @extend_schema(operation_id="createProducts")
    @idempotent
    def create(self, request: Request) -> Response:
        """Add up to 1000 products, all or none. 409 `sku_taken` names the items whose sku is taken or given twice."""
        products = bulk.create_products(self.body(request)["items"])
        as_told = reader_of(ProductSerializer).instance
        return Response({"results": [as_told(product) for product in products]}, status=201)


class StockAdjustmentViewSet(ResourceViewSet):
    """The movements of a product's stock."""

    queryset = StockMovement.objects.all()
    serializer_class = StockMovementSerializer

    def list(self, request: Request, product_id: int) -> Response:
        """All movements of a product's stock, newest first."""
        answer = self.page(services.find_movements, self.query(request), product_id=product_id)
        if not answer.data["results"] and not services.live_products().filter(pk=product_id).exists():
            raise NotFound()
        return answer

    @idempotent
    def create(self, request: Request, product_id: int) -> Response:
        """Add or take pieces. 409 `insufficient_stock` when the stock would fall below zero."""
        movement = services.adjust_stock(product_id, **self.body(request))
        return Response(self.reader().instance(movement), status=201)


class ReservationViewSet(ResourceViewSet):
    """The stock that orders hold, keyed by the order's id."""

    queryset = StockReservation.objects.all()
    serializer_class = ReservationSerializer

    def retrieve(self, request: Request, order_id: int) -> Response:
        """The reservation of an order, released ones included."""
        found = self.reader().select(StockReservation.objects.filter(order_id=order_id), "status")
        return self.selected(request, found.first())

    @extend_schema(
        operation_id="reserveStock",
        responses={200: ReservationSerializer, 201: ReservationSerializer, 422: None},
    )
    def update(self, request: Request, order_id: int) -> Response:
        """Take the stock of an order, all or nothing. The same again: 200."""
        items = [(item["product_id"], item["quantity"]) for item in self.body(request)["lines"]]
        self.check_if_match(request, order_id)
        reserved = reservations.reserve(order_id, items)
        reached("reservation.taken")
        row = self.reader().instance(reserved.reservation, lines=reserved.lines)
        headers = {"ETag": etag(reserved.reservation.status)}
        return Response(row, status=201 if reserved.is_new else 200, headers=headers)

    @extend_schema(operation_id="releaseStock")
    def destroy(self, request: Request, order_id: int) -> Response:
        """Give the stock of an order back, however often; a later reserve is refused."""
        self.check_if_match(request, order_id)
        reservations.release(order_id)
        reached("reservation.released")
        return Response(status=204)

    def check_if_match(self, request: Request, order_id: int) -> None:
        """A state only ever goes on from reserved to released, so nothing is lost when it does after this look."""
        tags = expected_tags(request)
        if tags is not None:
            status = StockReservation.objects.filter(order_id=order_id).values_list("status", flat=True).first()
            if etag(status) not in tags:
                raise PreconditionFailed()
