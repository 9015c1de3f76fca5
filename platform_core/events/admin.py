from django.contrib import admin

from platform_core.admin import ReadOnlyAdmin
from platform_core.events.models import Event


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ("id", "type", "subject", "time", "request_id")
    list_filter = ("type",)
    search_fields = ("=subject", "=request_id")
    show_full_result_count = False
