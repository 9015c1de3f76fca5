from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest
from unfold.decorators import display

from platform_core.admin import ReadOnlyAdmin
from platform_core.outbox.models import OutboxMessage
from platform_core.outbox.queue import redrive


@admin.register(OutboxMessage)
class OutboxMessageAdmin(ReadOnlyAdmin):
    list_display = ("key", "kind", "destination", "shown_state", "attempts", "created_at", "delivered_at", "last_error")
    list_filter = ("state",)
    search_fields = ("key", "aggregate", "kind", "destination", "request_id")
    search_help_text = "key, aggregate such as order:1, kind, destination or request id"
    actions = ("redrive_dead",)

    @display(description="state", label={"pending": "info", "delivered": "success", "dead": "danger"})  # type: ignore[untyped-decorator]
    def shown_state(self, message: OutboxMessage) -> str:
        return message.state

    @admin.action(description="Deliver dead messages again", permissions=["operate"])
    def redrive_dead(self, request: HttpRequest, queryset: Any) -> None:
        count = redrive(queryset)
        self.message_user(request, f"{count} dead messages will be tried again.", messages.SUCCESS)
