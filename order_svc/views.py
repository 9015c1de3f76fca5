"""The API of order-service."""

from collections.abc import Callable
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from order_svc import services
from order_svc.models import Order
from order_svc.serializers import OrderInput, OrderQuery, OrderSerializer
from platform_core.api.idempotency import Claim, idempotent, replayed
from platform_core.api.queries import PageQuery, read_query
from platform_core.api.views import ID, ResourceViewSet
from platform_core.auth.access import owner_of
from platform_core.errors import Forbidden, NotFound, PlatformError


class OrderViewSet(ResourceViewSet):
    """Orders, and what can be done to them."""

    queryset = Order.objects.all()
    serializer_class = OrderSerializer
    query_class = OrderQuery
    owner_field = "user_id"

    def get_serializer_class(self) -> Any:
        return OrderInput if self.action == "create" else self.serializer_class

    def list(self, request: Request) -> Response:
        """Orders of every status, newest first."""
        query = self.query(request)
        names = ("user_id", "status", "created_after", "created_before")
        orders = services.find_orders(**{name: query.get(name) for name in names})
        return self.page(request, self.visible(orders), query)

    def retrieve(self, request: Request, pk: int) -> Response:
        """One order."""
        return self.one(request, self.visible(Order.objects.filter(pk=pk)))

    @extend_schema(request=OrderInput, responses={201: OrderSerializer})
    def create(self, request: Request) -> Response:
        """Place an order.

        422 `unknown_user` or `unknown_product`, 409 `insufficient_stock`, 503 when a service that it needs does not
        answer: then no order is kept.
        """
        claim = Claim.of(request)
        wanted = OrderInput(data=request.data)
        wanted.is_valid(raise_exception=True)
        if owner_of(request) not in (None, wanted.validated_data["userId"]):
            raise Forbidden("userId: orders are placed for oneself.")
        lines = wanted.lines()
        quantities: dict[int, int] = {}
        for product_id, quantity in lines:
            quantities[product_id] = quantities.get(product_id, 0) + quantity
        try:
            placed = services.place_order(wanted.validated_data["userId"], quantities, claim)
        except PlatformError as error:
            error.errors = [_in_terms_of(lines, each) for each in error.errors]
            raise
        response = self.answer(placed.order, status=201, lines=placed.lines)
        return replayed(response) if placed.is_replay else response

    @extend_schema(request=None, responses={200: OrderSerializer})
    @action(detail=True, methods=["post"], serializer_class=None)
    @idempotent
    def cancel(self, request: Request, pk: int) -> Response:
        """Cancel a confirmed order; its stock goes back. 409 `invalid_transition` otherwise."""
        if owner_of(request) is not None and not self.visible(Order.objects.filter(pk=pk)).exists():
            raise NotFound()  # an order never changes hands, so this look is good for the whole request
        return self.transition(services.cancel_order, pk)

    @extend_schema(request=None, responses={200: OrderSerializer})
    @action(detail=True, methods=["post"], serializer_class=None)
    @idempotent
    def ship(self, request: Request, pk: int) -> Response:
        """Mark a confirmed order as shipped. 409 `invalid_transition` otherwise."""
        return self.transition(services.ship_order, pk)

    @extend_schema(request=None, responses={200: OrderSerializer})
    @action(detail=True, methods=["post"], serializer_class=None)
    @idempotent
    def deliver(self, request: Request, pk: int) -> Response:
        """Mark a shipped order as delivered. 409 `invalid_transition` otherwise."""
        return self.transition(services.deliver_order, pk)

    @extend_schema(parameters=[PageQuery], responses={200: OrderSerializer(many=True)})
    @action(detail=False, methods=["get"], url_path=f"user/(?P<user_id>{ID})")
    def by_user(self, request: Request, user_id: int) -> Response:
        """A user's orders, newest first; none for a user who is not known."""
        query = read_query(request, PageQuery)
        return self.page(request, self.visible(services.find_orders(user_id=user_id)), query)

    def transition(self, use_case: Callable[[int], Order], order_id: int) -> Response:
        order = use_case(order_id)
        return self.answer(order, lines=order.lines.all())


def _in_terms_of(lines: list[tuple[int, int]], error: dict[str, Any]) -> dict[str, Any]:
    """Peers count summed products; the client counts the lines it sent."""
    products = [product_id for product_id, _ in lines]
    product_id = error.get("productId")
    if product_id is None or int(product_id) not in products:
        return error
    return {**error, "field": f"items[{products.index(int(product_id))}]"}
