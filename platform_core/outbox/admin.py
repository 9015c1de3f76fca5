from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest

from platform_core.admin import ReadOnlyAdmin
from platform_core.outbox.models import OutboxMessage
from platform_core.outbox.queue import redrive


@admin.register(OutboxMessage)
class OutboxMessageAdmin(ReadOnlyAdmin):
    list_display = ("key", "kind", "destination", "state", "attempts", "created_at", "delivered_at", "last_error")
    list_filter = ("state", "kind", "destination")
    search_fields = ("=aggregate", "=key", "=request_id")
    show_full_result_count = False
    actions = ("redrive_dead",)

    @admin.action(description="Deliver dead messages again", permissions=["change"])
    def redrive_dead(self, request: HttpRequest, queryset: Any) -> None:
        count = redrive(queryset)
        self.message_user(request, f"{count} dead messages will be tried again.", messages.SUCCESS)
