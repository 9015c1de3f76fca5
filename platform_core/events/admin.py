from django.contrib import admin

from platform_core.admin import ReadOnlyAdmin
from platform_core.events.models import Event


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ("id", "type", "subject", "time", "request_id")
    list_filter = ("time",)
    search_fields = ("id", "type", "subject", "request_id")
    search_help_text = "id, type, subject or request id"
    sortable_by = ("id",)
