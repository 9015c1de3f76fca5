"""Orders in the admin: to be looked at, and moved only by the use cases."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest
from unfold.admin import TabularInline

from order_svc import services
from order_svc.models import Order, OrderLine
from platform_core.admin import ReadOnlyAdmin
from platform_core.errors import PlatformError


class OrderLineInline(TabularInline):  # type: ignore[misc]
    model = OrderLine
    extra = 0
    can_delete = False
    fields = readonly_fields = ("product_id", "name", "unit_price", "quantity", "subtotal")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin):
    list_display = ("id", "user_id", "status", "total", "currency", "reason", "created_at")
    list_filter = ("status", "created_at")
    search_fields = ("=id", "=user_id", "=request_id")
    exclude = ("fingerprint",)
    inlines = (OrderLineInline,)
    show_full_result_count = False
    actions = ("cancel", "ship", "deliver")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [name for name in super().get_readonly_fields(request, obj) if name != "fingerprint"]

    @admin.action(description="Cancel, and give the stock back", permissions=["change"])
    def cancel(self, request: HttpRequest, queryset: Any) -> None:
        self.move(request, queryset, services.cancel_order)

    @admin.action(description="Mark as shipped", permissions=["change"])
    def ship(self, request: HttpRequest, queryset: Any) -> None:
        self.move(request, queryset, services.ship_order)

    @admin.action(description="Mark as delivered", permissions=["change"])
    def deliver(self, request: HttpRequest, queryset: Any) -> None:
        self.move(request, queryset, services.deliver_order)

    def move(self, request: HttpRequest, queryset: Any, use_case: Callable[[int], Order]) -> None:
        for order_id in queryset.values_list("pk", flat=True):
            try:
                order = use_case(order_id)
            except PlatformError as error:
                self.message_user(request, f"Order {order_id}: {error.detail}", messages.ERROR)
            else:
                self.message_user(request, f"Order {order_id} is {order.status}.", messages.SUCCESS)
