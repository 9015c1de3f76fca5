"""The read models, to be looked at: they are made from the feeds alone."""

from django.contrib import admin

from analytics_svc.models import DailyFigure, Fact, FeedPosition, Figure, ProductFigure
from platform_core.admin import ReadOnlyAdmin


@admin.register(FeedPosition)
class FeedPositionAdmin(ReadOnlyAdmin):
    list_display = ("service", "last_event_id", "caught_up_at")
    search_fields = ("service",)


@admin.register(Fact)
class FactAdmin(ReadOnlyAdmin):
    list_display = ("kind", "resource_id", "version")
    list_filter = ("kind",)
    search_fields = ("=resource_id",)
    show_full_result_count = False


@admin.register(Figure)
class FigureAdmin(ReadOnlyAdmin):
    list_display = ("name", "value")
    search_fields = ("name",)


@admin.register(DailyFigure)
class DailyFigureAdmin(ReadOnlyAdmin):
    list_display = ("date", "name", "value")
    list_filter = ("name", "date")
    search_fields = ("name",)


@admin.register(ProductFigure)
class ProductFigureAdmin(ReadOnlyAdmin):
    list_display = ("product_id", "name", "stock", "listed", "units", "revenue")
    list_filter = ("listed",)
    search_fields = ("=product_id", "name")
    show_full_result_count = False
