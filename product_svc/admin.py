"""The catalog in the admin; stock only moves through adjustments."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline

from platform_core.admin import ReadOnlyAdmin
from product_svc import services
from product_svc.models import Product, ReservationLine, StockMovement, StockReservation


@admin.register(Product)
class ProductAdmin(ModelAdmin):  # type: ignore[misc]
    """Changes go through the use cases, so that the feed hears of them; a new stock is recorded as an adjustment."""

    list_display = ("id", "name", "category", "sku", "price", "stock", "created_at")
    list_filter = ("category", "created_at")
    search_fields = ("name", "sku")
    fields = ("name", "description", "category", "sku", "price", "stock", "created_at", "updated_at", "version")
    readonly_fields = ("created_at", "updated_at", "version")
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).filter(deleted_at=None)

    def save_model(self, request: HttpRequest, obj: Product, form: Any, change: bool) -> None:
        values = {name: form.cleaned_data[name] for name in form.changed_data}
        if "sku" in values:
            values["sku"] = values["sku"] or None
        if change:
            services.update_product(obj.pk, None, **values)
        else:
            obj.pk = services.create_product(**values).pk

    def delete_model(self, request: HttpRequest, obj: Product) -> None:
        services.delete_product(obj.pk, None)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for product in queryset:
            services.delete_product(product.pk, None)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """A product is only marked as deleted, so what refers to it does not stand in the way."""
        return [str(obj) for obj in objs], {"products": len(objs)}, set(), []


@admin.register(StockMovement)
class StockMovementAdmin(ReadOnlyAdmin):
    list_display = ("id", "product", "delta", "stock", "kind", "reason", "order_id", "created_at")
    list_filter = ("kind", "created_at")
    list_select_related = ("product",)
    search_fields = ("=product__id", "=order_id")
    show_full_result_count = False


class ReservationLineInline(TabularInline):  # type: ignore[misc]
    model = ReservationLine
    extra = 0
    can_delete = False
    fields = readonly_fields = ("product", "name", "unit_price", "quantity")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(StockReservation)
class StockReservationAdmin(ReadOnlyAdmin):
    list_display = ("order_id", "status", "created_at", "released_at")
    list_filter = ("status",)
    search_fields = ("=order_id",)
    inlines = (ReservationLineInline,)
    show_full_result_count = False
