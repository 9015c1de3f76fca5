"""Notifications in the admin. They are read-only, and failed ones can be resent."""

import json
from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet, Value
from django.db.models.functions import Lower
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import localtime
from django.views.decorators.http import require_POST
from unfold.decorators import display

from notification_svc import services
from notification_svc.bulk import RESEND
from notification_svc.mails import rendered
from notification_svc.models import Notification
from notification_svc.webhooks import admin as webhooks_admin  # noqa: F401  # registers its pages
from platform_core.admin import ReadOnlyAdmin, linked, linked_user, stacked
from platform_core.admin_filters import ChoiceFilter, DaysFilter, ValueFilter, id_of
from platform_core.http import link
from platform_core.jobs import ask
from platform_core.topology import ORDER
from platform_core.vocabulary import NotificationStatus

_OF_ORDERS = ("order_confirmed", "order_shipped", "order_cancelled")
"""The types whose ``data`` names an order."""
_COLOURS = {
    **dict.fromkeys(NotificationStatus.values, "info"),
    NotificationStatus.SENT.value: "success",
    NotificationStatus.FAILED.value: "danger",
}


def _second(moment: datetime) -> str:
    return localtime(moment).strftime("%Y-%m-%d %H:%M:%S")


def _data(notification: Notification) -> dict[str, Any]:
    """The values for the mail's template; empty if there are none."""
    found: dict[str, Any] = json.loads(notification.data) if notification.data else {}
    return found


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
        "times",
    )
    list_filter = (StatusFilter, ChannelFilter, ("created_at", DaysFilter), UserFilter)
    list_filter_submit = True
    search_fields = ("id", "user_id", "type", "sender_key")
    search_help_text = "id, user id, type, recipient or the sender's key"
    saved_views = {"All": {}, "Failed": {"status": "failed"}, "Waiting": {"status": "queued"}}
    sortable_by = ("id",)
    fieldsets = (
        (None, {"fields": ("user", "about", "type", "channel", "recipient")}),
        ("The text", {"fields": ("subject", "message", "values", "preview")}),
        ("Delivery", {"fields": ("status", "attempts", "last_error", "created_at", "sent_at", "erased_at")}),
        ("The request", {"fields": ("caller", "sender_key", "version")}),
    )
    readonly_fields = ("user", "about", "values", "preview")
    actions = ("retry",)
    change_form_outer_before_template = "notification_svc/admin/resend_panel.html"

    def get_urls(self) -> list[Any]:
        """The admin's pages, the HTML of a mail as a page of its own, and the form that sends a failed one again."""
        page = self.admin_site.admin_view(self.html_page)
        resend = self.admin_site.admin_view(require_POST(self.resend))
        return [
            path("<int:pk>/html/", page, name="notification_svc_notification_html"),
            path("<int:pk>/resend/", resend, name="notification_svc_notification_resend"),
            *super().get_urls(),
        ]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """One notification, with the request, for links to other services."""
        notification = super().get_object(request, object_id, from_field)
        if notification is not None:
            notification.list_request = request
        return notification

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        """The page of a notification; of one that can be sent again with a button for that."""
        shown = kwargs.get("obj")
        if shown is not None and self.has_operate_permission(request) and services.can_retry(shown):
            context["resend_url"] = reverse("admin:notification_svc_notification_resend", args=[shown.pk])
        answer: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return answer

    def resend(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Sends a failed notification again and returns to its page."""
        if not self.has_operate_permission(request):
            raise PermissionDenied
        found = self.get_object(request, str(pk))
        if found is None:
            raise Http404
        if services.retry(Notification.objects.filter(pk=pk)):
            self.log_change(request, found, "Sent again.")
            messages.success(request, "The message will be sent again.")
        else:
            messages.info(request, "Nothing was done: the message has not failed, or its text was erased.")
        return redirect("admin:notification_svc_notification_change", pk)

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

    @display(description="about")  # type: ignore[untyped-decorator]
    def about(self, notification: Notification) -> SafeString | str:
        """A link to the order that the message is about."""
        order_id = _data(notification).get("orderId") if notification.type in _OF_ORDERS else None
        if not isinstance(order_id, str) or id_of(order_id) is None:
            return "–"
        request = notification.list_request  # type: ignore[attr-defined]
        return linked(link(ORDER, f"/admin/order_svc/order/{order_id}/change/", request), f"order {order_id}")

    @display(description="values")  # type: ignore[untyped-decorator]
    def values(self, notification: Notification) -> SafeString | str:
        """The values for the mail's template, as indented JSON."""
        data = _data(notification)
        if not data:
            return "–"
        text = json.dumps(data, indent=2, ensure_ascii=False)
        return format_html('<pre class="office-answer" tabindex="0">{}</pre>', text)

    @display(description="written, sent")  # type: ignore[untyped-decorator]
    def times(self, notification: Notification) -> SafeString:
        written, sent = notification.created_at, notification.sent_at
        return stacked(_second(written), f"sent {_second(sent)}" if sent else "not sent")

    @display(description="the mail")  # type: ignore[untyped-decorator]
    def preview(self, notification: Notification) -> SafeString:
        """The text of the mail as it would be sent now, and a link to its HTML."""
        try:
            mail = rendered(notification, notification.message)
        except Exception as error:  # a template may raise anything
            return format_html("The template fails: {}: {}", type(error).__name__, error)
        text = format_html('<pre class="office-answer" tabindex="0">Subject: {}\n\n{}</pre>', mail.subject, mail.text)
        if mail.html is None:
            return text
        return text + linked(reverse("admin:notification_svc_notification_html", args=[notification.pk]), "As HTML")

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
