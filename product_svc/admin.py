"""The catalog in the admin. Stock changes only through adjustments."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.admin import TabularInline

from platform_core.admin import PlatformAdmin, ReadOnlyAdmin
from platform_core.jobs import delete_many
from product_svc import services
from product_svc.admin_files import FilesOfProducts
from product_svc.file_jobs import DELETE
from product_svc.models import MAX_STOCK, Product, ReservationLine, StockMovement, StockReservation
from product_svc.search import search_products


@admin.register(Product)
class ProductAdmin(FilesOfProducts, PlatformAdmin):
    """Changes go through the use cases, so that they write events. A new stock is recorded as an adjustment."""

    list_display = ("id", "name", "category", "sku", "price", "stock", "created_at")
    list_filter = ("created_at",)
    search_fields = ("text",)
    search_help_text = "words of name, sku, category or description"
    sortable_by = ("id", "name", "price", "stock")
    readonly_fields = ("created_at", "updated_at", "version")
    actions = ("delete_selected",)

    @admin.action(description="Delete selected products", permissions=["delete"])
    def delete_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Asks about a single product as Django does. More than one are deleted by a job."""
        return delete_many(self, request, queryset, DELETE)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).filter(deleted_at=None)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        bounds = {"price": {"min_value": 0}, "stock": {"min_value": 0, "max_value": MAX_STOCK}}
        return super().formfield_for_dbfield(db_field, request, **kwargs, **bounds.get(db_field.name, {}))

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Product], search_term: str) -> Any:
        if not search_term:
            return queryset, False
        return search_products(queryset, search_term), False

    def save_model(self, request: HttpRequest, obj: Product, form: Any, change: bool) -> None:
        values = {name: form.cleaned_data[name] for name in form.changed_data}
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
        """Allows deletion although other rows refer to the product, because it is only marked as deleted."""
        return [str(obj) for obj in objs], {"products": len(objs)}, set(), []


@admin.register(StockMovement)
class StockMovementAdmin(ReadOnlyAdmin):
    list_display = ("id", "product", "delta", "stock", "kind", "reason", "order_id", "created_at")
    list_filter = ("kind", "created_at")
    list_select_related = ("product",)
    search_fields = ("product_id", "order_id")
    search_help_text = "product id or order id"
    sortable_by = ("id",)


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
    search_fields = ("order_id",)
    search_help_text = "order id"
    sortable_by = ("order_id",)
    inlines = (ReservationLineInline,)
