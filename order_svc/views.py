"""The API of order-service."""

from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from order_svc import services
from order_svc.explaining import Explanation, explain
from order_svc.models import Order
from order_svc.pages import page_data
from order_svc.serializers import ExplanationSerializer, OrderInput, OrderQuery, OrderSerializer, lines_of, page_path
from platform_core.api import (
    ID,
    Claim,
    PageViewSet,
    Query,
    ResourceViewSet,
    declared,
    idempotent,
    refuse_members,
    replayed,
    takes_key,
)
from platform_core.auth import may, owner_of, sends_mail
from platform_core.http import Conflict, Forbidden, InvalidInput, PlatformError, context


class OrderViewSet(ListModelMixin, ResourceViewSet):
    """Orders and their changes of status."""

    queryset = declared(Order, prefetch=["lines"])
    serializer_class = OrderSerializer
    query_class = OrderQuery
    owner_field = "user_id"
    personal_members = ("customer",)

    def get_serializer_class(self) -> Any:
        return OrderInput if self.action == "create" else self.serializer_class

    def get_response_serializer(self, instance: Any) -> Any:
        """Always the class's serializer: an action's own serializer is only for its request body."""
        return type(self).serializer_class(instance, context=self.get_serializer_context())

    def get_queryset(self) -> QuerySet[Order]:
        orders = super().get_queryset()
        return orders.filter(user_id=self.kwargs["user_id"]) if "user_id" in self.kwargs else orders

    def list(self, request: Request) -> Response:
        """Orders of every status, newest first."""
        return super().list(request)

    def retrieve(self, request: Request, pk: int) -> Response:
        """One order."""
        return self.shown(self.get_object())

    @extend_schema(request=OrderInput, responses={201: OrderSerializer})
    @sends_mail
    @takes_key
    def create(self, request: Request) -> Response:
        """Place an order.

        422: `unknown_user`, `inactive_user` (the account is disabled) or `unknown_product`. 409: `insufficient_stock`.
        503: a service that is needed does not answer, and the order was not placed. For customers alone: 400 with the
        field's code `too_many_pieces`, and 409 `too_many_open_orders`.
        """
        claim = Claim.of(request)
        try:
            wanted = self.validated()
        except (ValidationError, InvalidInput):
            earlier = services.earlier_order(claim)  # it may have been placed before a rule that refuses it now
            if earlier is None:
                raise
            return self.placed(earlier)
        if owner_of(request) not in (None, wanted["userId"]):
            raise Forbidden("userId: customers may only place orders for themselves.")
        lines = lines_of(wanted)
        is_customer = owner_of(request) is not None
        if is_customer:
            _check_pieces(lines, "items" if wanted.get("items") else "quantity")
        quantities: dict[int, int] = {}
        for product_id, quantity in lines:
            quantities[product_id] = quantities.get(product_id, 0) + quantity
        try:
            most_open = settings.ORDER_MOST_OPEN if is_customer else None
            placed = services.place_order(wanted["userId"], quantities, claim, most_open)
        except PlatformError as error:
            error.errors = [_in_terms_of(lines, each) for each in error.errors]
            raise
        return self.placed(placed)

    def placed(self, placed: services.Placed) -> Response:
        response = self.answer(placed.order, status=201, lines=placed.lines)
        return replayed(response) if placed.is_replay else response

    def offers(self, action: str, resource: Mapping[str, Any]) -> bool:
        """A shipped order can be delivered, a confirmed one cancelled or shipped."""
        return bool(resource.get("status") == services.STATUS_BEFORE[action])

    @extend_schema(request=None, responses={200: OrderSerializer})
    @action(detail=True, methods=["post"], serializer_class=None)
    @sends_mail
    @idempotent
    def cancel(self, request: Request, pk: int) -> Response:
        """Cancel a confirmed order and release its stock. 409 `invalid_transition`: the order is not confirmed."""
        return self.transition(services.cancel_order)

    @extend_schema(request=None, responses={200: OrderSerializer})
    @action(detail=True, methods=["post"], serializer_class=None)
    @sends_mail
    @idempotent
    def ship(self, request: Request, pk: int) -> Response:
        """Mark a confirmed order as shipped. 409 `invalid_transition`: the order is not confirmed."""
        return self.transition(services.ship_order)

    @extend_schema(request=None, responses={200: OrderSerializer})
    @action(detail=True, methods=["post"], serializer_class=None)
    @sends_mail
    @idempotent
    def deliver(self, request: Request, pk: int) -> Response:
        """Mark a shipped order as delivered. 409 `invalid_transition`: the order is not shipped."""
        return self.transition(services.deliver_order)

    @extend_schema(operation_id="listOrdersByUser", responses={200: OrderSerializer(many=True)})
    @action(detail=False, methods=["get"], url_path=f"user/(?P<user_id>{ID})", query_class=Query)
    def by_user(self, request: Request, user_id: int) -> Response:
        """A user's orders, newest first. An unknown user has none."""
        return super().list(request)

    @extend_schema(operation_id="explainOrder", responses={200: ExplanationSerializer})
    @action(detail=True, methods=["get"], serializer_class=None)
    def explain(self, request: Request, pk: int) -> Response:
        """Explain an order: its timeline across the services, with durations, problems and log searches.

        `page` is the URL of the same as a page, with buttons for the operations. Services that do not answer are listed
        in `unknown`.
        """
        return Response(ExplanationSerializer(explain(pk), context={"request": request}).data)

    def transition(self, use_case: Callable[[int], Order]) -> Response:
        order = self.get_object()
        refuse_members(self.request)
        order = use_case(order.pk)
        return self.answer(order, lines=order.lines.all())


class OrderPages(PageViewSet):
    """The page of an order, and the operations that it offers."""

    queryset = Order.objects.all()
    template_name = "order_svc/explain.html"
    explanation: Explanation

    def explain(self, request: Request, pk: int) -> Response:
        self.explanation = explain(pk, with_people=self.wants_page())
        return Response(ExplanationSerializer(self.explanation, context={"request": request}).data)

    @idempotent
    def retry(self, request: Request, pk: int) -> Response:
        return self.done(pk, "retry", services.retry_messages)

    @sends_mail
    @idempotent
    def cancel(self, request: Request, pk: int) -> Response:
        return self.done(pk, "cancel", services.cancel_order)

    @sends_mail
    @idempotent
    def ship(self, request: Request, pk: int) -> Response:
        return self.done(pk, "ship", services.ship_order)

    @sends_mail
    @idempotent
    def deliver(self, request: Request, pk: int) -> Response:
        return self.done(pk, "deliver", services.deliver_order)

    @idempotent
    def reject(self, request: Request, pk: int) -> Response:
        return self.done(pk, "reject", services.reject_order)

    def done(self, pk: int, did: str, use_case: Callable[[int], Order | int]) -> Response:
        """Redirects to the page. For a browser it shows what was done (`DONE`), or why it was refused.

        A use case that returns 0 had nothing to do.
        """
        try:
            level, text = messages.SUCCESS, DONE["nothing" if use_case(pk) == 0 else did]
        except Conflict as conflict:
            if not self.wants_page():
                raise
            level, text = messages.WARNING, f"Nothing was done. {conflict.detail}"
        if self.wants_page():
            messages.add_message(self.request, level, text)
        return Response(status=303, headers={"Location": page_path(pk)})

    def page_path(self) -> str:
        return page_path(self.kwargs["pk"])

    def page_context(self, request: Request) -> dict[str, Any]:
        """The explanation in the form that the template shows, and the operations that the caller may use."""
        found = self.explanation
        offered = [each for each in found.operations if may(request, "POST", f"/orders/{{id}}/explain/{each.name}")]
        return {
            "explanation": found,
            "operations": offered,
            "is_refused": len(offered) < len(found.operations),
            "is_poll": context.current().is_poll,
            **page_data(found, request),
        }


DONE = {
    "retry": "The undelivered messages are being delivered again.",
    "nothing": "There was nothing left to deliver.",
    "cancel": "The order is cancelled. Its stock is being released.",
    "ship": "The order is shipped. The customer is being notified.",
    "deliver": "The order is delivered.",
    "reject": "The order is rejected. If stock was reserved, it is being released.",
}


def _check_pieces(lines: list[tuple[int, int]], field: str) -> None:
    """Raises InvalidInput if the lines have more pieces together than a customer may order at once."""
    pieces, most = sum(quantity for _, quantity in lines), settings.ORDER_MOST_PIECES
    if pieces > most:
        detail = f"An order may have at most {most} pieces; this one has {pieces}."
        raise InvalidInput.field(field, detail, code="too_many_pieces")


def _in_terms_of(lines: list[tuple[int, int]], error: dict[str, Any]) -> dict[str, Any]:
    """Renumbers an error's field: the peer numbers the distinct products, the client the lines that it sent."""
    products = [product_id for product_id, _ in lines]
    product_id = error.get("productId")
    if product_id is None or int(product_id) not in products:
        return error
    return {**error, "field": f"items[{products.index(int(product_id))}]"}
