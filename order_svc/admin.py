"""Orders in the admin. They are read-only; their status changes only through the use cases."""

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from unfold.decorators import display

from order_svc.bulk import MOVES, Move
from order_svc.models import Order
from platform_core.admin import ReadOnlyAdmin, act_as, amount_column
from platform_core.http import PlatformError
from platform_core.jobs import ask
from platform_core.vocabulary import HOLDING_STOCK, WITHOUT_STOCK, OrderStatus

# Statuses of one group share a colour. The entries for single statuses come last and override the group's.
_COLOURS = {
    **dict.fromkeys(OrderStatus.values, "info"),
    **dict.fromkeys([status.value for status in HOLDING_STOCK], "primary"),
    **dict.fromkeys([status.value for status in WITHOUT_STOCK], "danger"),
    OrderStatus.SHIPPED.value: "warning",
    OrderStatus.DELIVERED.value: "success",
}


TOTAL = amount_column("total")


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin):
    list_display = ("id", "user_id", "shown_status", TOTAL, "currency", "reason", "created_at")
    list_filter = ("status", "created_at")
    search_fields = ("id", "user_id", "request_id")
    search_help_text = "id, user id or request id"
    sortable_by = ("id", "created_at")
    actions = ("cancel", "ship", "deliver")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """The list and its actions, which record who acts."""
        act_as(request)
        return super().changelist_view(request, extra_context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponseBase:
        """Leads to the page of the order, which is not part of the admin."""
        order = self.get_object(request, object_id)
        if order is None or not self.has_view_permission(request, order):
            return super().change_view(request, object_id, form_url, extra_context)
        return redirect("order-page", pk=order.pk)

    @display(description="status", label=_COLOURS)  # type: ignore[untyped-decorator]
    def shown_status(self, order: Order) -> str:
        return order.status

    @admin.action(description="Cancel and release the stock", permissions=["operate"])
    def cancel(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return self.move(request, queryset, MOVES["cancel"])

    @admin.action(description="Mark as shipped", permissions=["operate"])
    def ship(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return self.move(request, queryset, MOVES["ship"])

    @admin.action(description="Mark as delivered", permissions=["operate"])
    def deliver(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return self.move(request, queryset, MOVES["deliver"])

    def move(self, request: HttpRequest, queryset: Any, move: Move) -> HttpResponse | None:
        """Moves a single order at once. More than one are asked about first, and moved by a job."""
        ids = list(queryset.values_list("pk", flat=True)[:2])
        if len(ids) > 1:
            return ask(request, move.kind, queryset)
        for order_id in ids:
            try:
                order = move.use_case(order_id)
            except PlatformError as error:
                self.message_user(request, f"Order {order_id}: {error.detail}", messages.ERROR)
            else:
                self.log_change(request, order, f"Status changed to {order.status}.")
                self.message_user(request, f"Order {order_id} is {order.status}.", messages.SUCCESS)
        return None
