from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest

from notification_svc import services
from notification_svc.models import Notification
from platform_core.admin import ReadOnlyAdmin


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdmin):
    list_display = ("id", "user_id", "type", "channel", "recipient", "status", "attempts", "created_at", "sent_at")
    list_filter = ("status", "type", "channel", "created_at")
    search_fields = ("=user_id", "=recipient", "=sender_key")
    exclude = ("fingerprint",)
    show_full_result_count = False
    actions = ("retry",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [name for name in super().get_readonly_fields(request, obj) if name != "fingerprint"]

    @admin.action(description="Try failed ones again", permissions=["change"])
    def retry(self, request: HttpRequest, queryset: Any) -> None:
        self.message_user(request, f"{services.retry(queryset)} will be tried again.", messages.SUCCESS)
