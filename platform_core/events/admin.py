from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display

from platform_core.admin import ReadOnlyAdmin, linked_resource
from platform_core.events.models import Event, FeedConsumer, ServerHistory
from platform_core.events.retention import waiting_since
from platform_core.vocabulary import EventType


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ("id", "type", "resource", "time", "request_id")
    search_fields = ("id", "subject", "request_id")
    search_help_text = "id, id of the resource, or request id"
    sortable_by = ("id",)

    @display(description="subject")  # type: ignore[untyped-decorator]
    def resource(self, event: Event) -> SafeString | str:
        kind = EventType(event.type).resource if event.type in list(EventType) else event.type.partition(".")[0]
        return linked_resource(kind, event.subject, event.subject)


@admin.register(ServerHistory)
class ServerHistoryAdmin(ReadOnlyAdmin):
    list_display = ("system_identifier", "timeline", "noted_at", "lost", "lost_at")


@admin.register(FeedConsumer)
class FeedConsumerAdmin(ReadOnlyAdmin):
    list_display = ("name", "position", "behind_since", "seen_at")
    search_fields = ("name",)
    actions = ("forget",)

    @display(description="acknowledged")  # type: ignore[untyped-decorator]
    def position(self, consumer: FeedConsumer) -> str:
        return f"{consumer.epoch}-{consumer.txid}-{consumer.sequence}"

    @display(description="oldest event not acknowledged")  # type: ignore[untyped-decorator]
    def behind_since(self, consumer: FeedConsumer) -> datetime | None:
        return waiting_since(consumer)

    @admin.action(description="Remove: stop keeping events for it", permissions=["operate"])
    def forget(self, request: HttpRequest, queryset: Any) -> None:
        count, _ = queryset.delete()
        self.message_user(request, f"{count} consumers were removed.", messages.SUCCESS)
