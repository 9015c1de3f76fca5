"""Notifications in the admin. They are read-only, and failed ones can be resent."""

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest
from unfold.decorators import display

from notification_svc import services
from notification_svc.models import Notification
from platform_core.admin import ReadOnlyAdmin
from platform_core.vocabulary import NotificationStatus

_COLOURS = {
    **dict.fromkeys(NotificationStatus.values, "info"),
    NotificationStatus.SENT.value: "success",
    NotificationStatus.FAILED.value: "danger",
}


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "user_id",
        "type",
        "channel",
        "recipient",
        "shown_status",
        "attempts",
        "created_at",
        "sent_at",
    )
    list_filter = ("status", "channel", "created_at")
    search_fields = ("id", "user_id", "type", "recipient", "sender_key")
    search_help_text = "id, user id, type, recipient or the sender's key"
    sortable_by = ("id",)
    fieldsets = (
        (None, {"fields": ("user_id", "type", "channel", "recipient", "subject", "message")}),
        ("Delivery", {"fields": ("status", "attempts", "last_error", "created_at", "sent_at")}),
        ("The request", {"fields": ("caller", "sender_key", "version")}),
    )
    actions = ("retry",)

    @display(description="status", label=_COLOURS)  # type: ignore[untyped-decorator]
    def shown_status(self, notification: Notification) -> str:
        return notification.status

    @admin.action(description="Resend failed notifications", permissions=["operate"])
    def retry(self, request: HttpRequest, queryset: Any) -> None:
        self.message_user(request, f"{services.retry(queryset)} will be sent again.", messages.SUCCESS)
