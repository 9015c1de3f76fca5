"""Notifications in the admin. They are read-only, and failed ones can be resent."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet, Value
from django.db.models.functions import Lower
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from notification_svc import services
from notification_svc.bulk import RESEND
from notification_svc.mails import rendered
from notification_svc.models import Notification
from notification_svc.webhooks import admin as webhooks_admin  # noqa: F401  # registers its pages
from platform_core.admin import ReadOnlyAdmin, linked_user
from platform_core.admin_filters import ChoiceFilter, DaysFilter, ValueFilter, id_of
from platform_core.jobs import ask
from platform_core.vocabulary import NotificationStatus

_COLOURS = {
    **dict.fromkeys(NotificationStatus.values, "info"),
    NotificationStatus.SENT.value: "success",
    NotificationStatus.FAILED.value: "danger",
}


class StatusFilter(ChoiceFilter):
    title, parameter_name = "status", "status"
    options = tuple(NotificationStatus.choices)

    def matching(self, rows: QuerySet[Notification], text: str) -> QuerySet[Notification]:
        return rows.filter(status=text)


class ChannelFilter(ChoiceFilter):
    title, parameter_name = "channel", "channel"
    options = tuple(Notification.Channel.choices)

    def matching(self, rows: QuerySet[Notification], text: str) -> QuerySet[Notification]:
        return rows.filter(channel=text)


class UserFilter(ValueFilter):
    title, parameter_name, hint = "user", "user", "a user's id"

    def matching(self, rows: QuerySet[Notification], text: str) -> QuerySet[Notification] | None:
        user_id = id_of(text)
        return None if user_id is None else rows.filter(user_id=user_id)


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "user",
        "type",
        "channel",
        "recipient",
        "shown_status",
        "attempts",
        "created_at",
        "sent_at",
    )
    list_filter = (StatusFilter, ChannelFilter, ("created_at", DaysFilter), UserFilter)
    list_filter_submit = True
    search_fields = ("id", "user_id", "type", "sender_key")
    search_help_text = "id, user id, type, recipient or the sender's key"
    saved_views = {"All": {}, "Failed": {"status": "failed"}, "Waiting": {"status": "queued"}}
    sortable_by = ("id",)
    fieldsets = (
        (None, {"fields": ("user_id", "type", "channel", "recipient", "subject", "message", "data", "preview")}),
        ("Delivery", {"fields": ("status", "attempts", "last_error", "created_at", "sent_at", "erased_at")}),
        ("The request", {"fields": ("caller", "sender_key", "version")}),
    )
    readonly_fields = ("preview",)
    actions = ("retry",)

    def get_urls(self) -> list[Any]:
        """The admin's pages, and the HTML of a mail as a page of its own."""
        page = self.admin_site.admin_view(self.html_page)
        return [path("<int:pk>/html/", page, name="notification_svc_notification_html"), *super().get_urls()]

    def html_page(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The HTML of a mail. The Content-Security-Policy of the admin allows no script in it."""
        notification = self.get_object(request, str(pk))
        if not self.has_view_permission(request, notification):
            raise PermissionDenied
        mail = None if notification is None else rendered(notification, notification.message)
        if mail is None or mail.html is None:
            raise Http404
        return HttpResponse(mail.html)

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Notification], search_term: str) -> Any:
        """An address is compared without regard to capitals; anything else equals a column."""
        if "@" not in search_term:
            return super().get_search_results(request, queryset, search_term)
        term = search_term.strip()
        found = Q(address=Lower(Value(term))) | Q(sender_key=term)
        return queryset.alias(address=Lower("recipient")).filter(found), False

    @display(description="user")  # type: ignore[untyped-decorator]
    def user(self, notification: Notification) -> SafeString | str:
        return linked_user(notification)

    @display(description="the mail")  # type: ignore[untyped-decorator]
    def preview(self, notification: Notification) -> SafeString:
        """The text of the mail as it would be sent now, and a link to its HTML."""
        try:
            mail = rendered(notification, notification.message)
        except Exception as error:  # a template may raise anything
            return format_html("The template fails: {}: {}", type(error).__name__, error)
        text = format_html("<pre>Subject: {}\n\n{}</pre>", mail.subject, mail.text)
        if mail.html is None:
            return text
        link = reverse("admin:notification_svc_notification_html", args=[notification.pk])
        return text + format_html('<a href="{}">As HTML</a>', link)

    @display(description="status", label=_COLOURS)  # type: ignore[untyped-decorator]
    def shown_status(self, notification: Notification) -> str:
        return notification.status

    @admin.action(description="Resend failed notifications", permissions=["operate"])
    def retry(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Resends a single notification at once. More than one are asked about first, and resent by a job."""
        if len(queryset[:2]) > 1:
            return ask(request, RESEND, queryset)
        self.message_user(request, f"{services.retry(queryset)} will be sent again.", messages.SUCCESS)
        return None
