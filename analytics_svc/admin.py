"""The read models, to be looked at: they are made from the feeds alone."""

from django.contrib import admin

from analytics_svc.models import DailyFigure, Fact, FeedPosition, Figure, ProductFigure
from platform_core.admin import ReadOnlyAdmin


@admin.register(FeedPosition)
class FeedPositionAdmin(ReadOnlyAdmin):
    list_display = ("service", "last_event_id", "caught_up_at")


@admin.register(Fact)
class FactAdmin(ReadOnlyAdmin):
    list_display = ("kind", "resource_id", "version")
    search_fields = ("kind", "resource_id")
    search_help_text = "kind or resource id"


@admin.register(Figure)
class FigureAdmin(ReadOnlyAdmin):
    list_display = ("name", "value")
    search_fields = ("name",)
    sortable_by = ("name",)


@admin.register(DailyFigure)
class DailyFigureAdmin(ReadOnlyAdmin):
    list_display = ("date", "name", "value")
    list_filter = ("date",)
    search_fields = ("name",)
    search_help_text = "name, such as orders.revenue"


@admin.register(ProductFigure)
class ProductFigureAdmin(ReadOnlyAdmin):
    list_display = ("product_id", "name", "stock", "listed", "units", "revenue")
    list_filter = ("listed",)
    search_fields = ("product_id", "name")
    search_help_text = "product id or whole name"
    sortable_by = ("product_id", "stock", "units")
