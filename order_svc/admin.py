"""Orders in the admin. They are read-only; their status changes only through the use cases."""

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import TabularInline
from unfold.decorators import display

from order_svc.bulk import MOVES, Move
from order_svc.models import Order, OrderLine
from platform_core.admin import ReadOnlyAdmin
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


class OrderLineInline(TabularInline):  # type: ignore[misc]
    model = OrderLine
    extra = 0
    can_delete = False
    fields = readonly_fields = ("product_id", "name", "unit_price", "quantity", "subtotal")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin):
    list_display = ("id", "user_id", "shown_status", "total", "currency", "reason", "created_at")
    list_filter = ("status", "created_at")
    search_fields = ("id", "user_id", "request_id")
    search_help_text = "id, user id or request id"
    sortable_by = ("id", "created_at")
    fieldsets = (
        (None, {"fields": ("user_id", "status", "total", "currency", "timeline")}),
        ("Customer", {"fields": ("customer_name", "customer_email", "customer_address")}),
        ("Times", {"fields": ("created_at", "confirmed_at", "updated_at")}),
        ("Rejection", {"fields": ("reason", "refusal")}),
        ("Request", {"fields": ("caller", "idempotency_key", "request_id", "traceparent", "version")}),
    )
    readonly_fields = ("timeline",)
    inlines = (OrderLineInline,)
    actions = ("cancel", "ship", "deliver")

    @display(description="status", label=_COLOURS)  # type: ignore[untyped-decorator]
    def shown_status(self, order: Order) -> str:
        return order.status

    @display(description="timeline")  # type: ignore[untyped-decorator]
    def timeline(self, order: Order) -> SafeString:
        return format_html('<a href="{}">Explain this order</a>', reverse("order-page", args=[order.pk]))

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
