"""Webhooks and their deliveries in the admin. Webhooks are changed by the API; deliveries can be made again."""

from typing import Any

import msgspec
from django.contrib import admin, messages
from django.db.models import F, QuerySet
from django.db.models.fields.json import KeyTextTransform
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import localtime
from unfold.decorators import display

from notification_svc.webhooks.models import WebhookDelivery, WebhookEndpoint
from notification_svc.webhooks.redelivering import REDELIVER, redeliver
from notification_svc.webhooks.services import destination_of
from platform_core.admin import ReadOnlyAdmin, linked, stacked
from platform_core.admin_filters import ChoiceFilter, ValueFilter, id_of
from platform_core.http import PlatformError, link
from platform_core.jobs import ask
from platform_core.outbox import OutboxMessage
from platform_core.topology import SERVICES

_COLOURS = {"pending": "info", "delivered": "success", "dead": "danger"}
_SERVICES = {service.name: service for service in SERVICES}
_PAGES = ("user", "product", "order", "notification")
"""The resources that have a page in the admin of their service."""


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ReadOnlyAdmin):
    """Read-only: webhooks are changed by the API."""

    list_display = ("id", "url", "types", "enabled", "failing_since", "disabled_reason", "created_at", "deliveries")
    list_filter = ("enabled",)
    search_fields = ("id",)
    search_help_text = "id"
    fieldsets = (
        (None, {"fields": ("url", "types", "enabled", "since", "failing_since", "disabled_reason", "deliveries")}),
        ("The row", {"fields": ("created_at", "updated_at", "version")}),
    )  # without the secret
    readonly_fields = ("types", "deliveries")

    @display(description="events")  # type: ignore[untyped-decorator]
    def types(self, endpoint: WebhookEndpoint) -> str:
        return ", ".join(endpoint.events)

    @display(description="deliveries")  # type: ignore[untyped-decorator]
    def deliveries(self, endpoint: WebhookEndpoint) -> SafeString:
        url = reverse("admin:notification_svc_webhookdelivery_changelist")
        return linked(f"{url}?webhook={endpoint.pk}", "show")


class StateFilter(ChoiceFilter):
    title, parameter_name = "state", "state"
    options = tuple(OutboxMessage.State.choices)

    def matching(self, rows: QuerySet[WebhookDelivery], text: str) -> QuerySet[WebhookDelivery]:
        return rows.filter(state=text)


class EndpointFilter(ValueFilter):
    title, parameter_name, hint = "webhook", "webhook", "a webhook's id"

    def matching(self, rows: QuerySet[WebhookDelivery], text: str) -> QuerySet[WebhookDelivery] | None:
        endpoint_id = id_of(text)
        return None if endpoint_id is None else rows.filter(destination=destination_of(endpoint_id))


def _urls() -> dict[int, str]:
    return dict(WebhookEndpoint.objects.values_list("pk", "url"))


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnlyAdmin):
    """What was, or will be, sent to which webhook, and what came of it."""

    list_display = (*("id", "event_about", "endpoint", "shown_state", "attempts", "answer", "settled"),)
    list_filter = (StateFilter, EndpointFilter)
    list_filter_submit = True
    search_fields = ("id", "key", "aggregate")
    search_help_text = "id, webhook-id, or a resource such as order:7"
    saved_views = {"All": {}, "Waiting": {"state": "pending"}, "Given up": {"state": "dead"}}
    fieldsets = (
        (None, {"fields": ("event", "about", "endpoint", "key", "request_id")}),
        ("Delivery", {"fields": ("state", "attempts", "answer", "created_at", "next_attempt", "delivered_at")}),
        ("What is sent", {"fields": ("body",)}),
    )
    readonly_fields = ("event", "about", "endpoint", "answer", "next_attempt", "body")
    actions = ("redeliver",)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """The list. The addresses of the endpoints, of which there are few, are read once."""
        request.webhook_urls = _urls()  # type: ignore[attr-defined]
        return super().changelist_view(request, extra_context)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """One delivery, with the request, for links to other services."""
        delivery = super().get_object(request, object_id, from_field)
        if delivery is not None:
            request.webhook_urls = _urls()  # type: ignore[attr-defined]
            delivery.list_request = request
        return delivery

    def get_queryset(self, request: HttpRequest) -> Any:
        """The deliveries, with what the list shows of their long columns, which are not read there."""
        source, event_type = (KeyTextTransform(name, "payload") for name in ("source", "type"))
        return super().get_queryset(request).annotate(source=source, event_type=event_type, error=F("last_error"))

    @display(description="event")  # type: ignore[untyped-decorator]
    def event(self, delivery: WebhookDelivery) -> str:
        return delivery.event_type or ""  # type: ignore[attr-defined]

    @display(description="about")  # type: ignore[untyped-decorator]
    def about(self, delivery: WebhookDelivery) -> SafeString | str:
        kind, _, pk = delivery.aggregate.partition(":")
        service = _SERVICES.get(delivery.source)  # type: ignore[attr-defined]
        if kind not in _PAGES or service is None:
            return f"{kind} {pk}"
        request = delivery.list_request  # type: ignore[attr-defined]
        return linked(link(service, f"/admin/{service.package}/{kind}/{pk}/change/", request), f"{kind} {pk}")

    @display(description="event")  # type: ignore[untyped-decorator]
    def event_about(self, delivery: WebhookDelivery) -> SafeString:
        text = '<span class="block whitespace-nowrap">{}<br>{}</span>'
        return format_html(text, self.event(delivery), self.about(delivery))

    @display(description="webhook")  # type: ignore[untyped-decorator]
    def endpoint(self, delivery: WebhookDelivery) -> SafeString | str:
        url = delivery.list_request.webhook_urls.get(delivery.endpoint_id)  # type: ignore[attr-defined]
        if url is None:
            return f"webhook {delivery.endpoint_id}, deleted"
        page = reverse("admin:notification_svc_webhookendpoint_change", args=[delivery.endpoint_id])
        return format_html('<span class="block truncate max-w-48" title="{}">{}</span>', url, linked(page, url))

    @display(description="state", label=_COLOURS)  # type: ignore[untyped-decorator]
    def shown_state(self, delivery: WebhookDelivery) -> str:
        return delivery.state

    @display(description="answer")  # type: ignore[untyped-decorator]
    def answer(self, delivery: WebhookDelivery) -> str:
        if delivery.state == OutboxMessage.State.DELIVERED:
            return "accepted"
        error: str = delivery.error  # type: ignore[attr-defined]
        name, _, text = error.partition(": ")
        return (text if name.isidentifier() and text else error) or "–"

    @display(description="next attempt")  # type: ignore[untyped-decorator]
    def next_attempt(self, delivery: WebhookDelivery) -> Any:
        return delivery.next_attempt_at

    @display(description="written; delivered, or next attempt")  # type: ignore[untyped-decorator]
    def settled(self, delivery: WebhookDelivery) -> SafeString:
        next_at = delivery.next_attempt_at
        moment = delivery.delivered_at or next_at
        written = localtime(delivery.created_at).strftime("%Y-%m-%d %H:%M:%S")
        if moment is None:
            return stacked(written, "given up")
        return stacked(written, f"{'next' if next_at else 'delivered'} {localtime(moment):%Y-%m-%d %H:%M:%S}")

    @display(description="body")  # type: ignore[untyped-decorator]
    def body(self, delivery: WebhookDelivery) -> SafeString:
        """The event as it is sent, indented."""
        try:
            text = msgspec.json.format(str(delivery.payload.get("body", "")), indent=2)
        except (ValueError, RecursionError):
            text = str(delivery.payload.get("body", ""))
        return format_html('<pre class="office-answer" tabindex="0">{}</pre>', text)

    @admin.action(description="Deliver again", permissions=["operate"])
    def redeliver(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Delivers a single event again at once. More than one are asked about first, and delivered by a job."""
        ids = list(queryset.values_list("pk", flat=True)[:2])
        if len(ids) > 1:
            return ask(request, REDELIVER, queryset)
        for pk in ids:
            try:
                delivery = redeliver(pk)
            except PlatformError as error:
                self.message_user(request, f"Delivery {pk}: {error.detail}", messages.ERROR)
            else:
                self.log_change(request, delivery, "Delivered again.")
                self.message_user(request, f"Delivery {pk} will be attempted now.", messages.SUCCESS)
        return None
