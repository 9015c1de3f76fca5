"""The read models in the admin. They are read-only, because they are derived data. Parked events can be retried."""

from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from analytics_svc.contributions import AMOUNTS
from analytics_svc.models import DailyFigure, Fact, FeedPosition, Figure, ParkedEvent, ProductFigure
from analytics_svc.projection import try_again
from platform_core.admin import ReadOnlyAdmin, amount_column
from platform_core.conf import grouped_amount


class LiveAdmin(ReadOnlyAdmin):
    """Shows only the live generation."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        live = FeedPosition.objects.filter(live=True).values("generation")[:1]
        rows: QuerySet[Any] = super().get_queryset(request).filter(generation=live)
        return rows


@display(description="value", ordering="value")  # type: ignore[untyped-decorator]
def value(figure: Figure | DailyFigure) -> str:
    """An amount of money in the shop's currency, or a count."""
    return grouped_amount(figure.value, settings.CURRENCY) if figure.name in AMOUNTS else f"{figure.value:,.0f}"


@admin.register(FeedPosition)
class FeedPositionAdmin(ReadOnlyAdmin):
    list_display = ("service", "generation", "live", "last_event_id", "caught_up_at", "rebuilding_until")


@admin.register(ParkedEvent)
class ParkedEventAdmin(LiveAdmin):
    list_display = ("event_id", "service", "type", "subject", "error", "parked_at")
    search_fields = ("event_id", "service", "type", "subject")
    actions = ("retry",)

    @admin.action(description="Apply again", permissions=["operate"])
    def retry(self, request: HttpRequest, queryset: Any) -> None:
        done = [try_again(parked) for parked in queryset]
        if any(done):
            self.message_user(request, f"{sum(done)} are counted now.", messages.SUCCESS)
        if not all(done):
            self.message_user(request, f"{len(done) - sum(done)} still cannot be applied.", messages.WARNING)


@admin.register(Fact)
class FactAdmin(LiveAdmin):
    list_display = ("kind", "resource_id", "version")
    search_fields = ("kind", "resource_id")
    search_help_text = "kind or resource id"


@admin.register(Figure)
class FigureAdmin(LiveAdmin):
    list_display = ("name", value)
    fields = ("generation", "name", value)
    readonly_fields = (value,)
    search_fields = ("name",)


@admin.register(DailyFigure)
class DailyFigureAdmin(LiveAdmin):
    list_display = ("date", "name", value)
    fields = ("generation", "name", "date", value)
    readonly_fields = (value,)
    list_filter = ("date",)
    search_fields = ("name",)
    search_help_text = "name, such as orders.revenue"


REVENUE = amount_column("revenue")


@admin.register(ProductFigure)
class ProductFigureAdmin(LiveAdmin):
    list_display = ("product_id", "name", "stock", "listed", "units", REVENUE)
    fields = ("generation", "product_id", "name", "stock", "listed", "units", REVENUE)
    readonly_fields = (REVENUE,)
    list_filter = ("listed",)
    search_fields = ("product_id", "name")
    search_help_text = "product id or complete name"
