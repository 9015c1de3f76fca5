from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.timezone import localtime
from unfold.decorators import display

from platform_core.admin import ReadOnlyAdmin, linked_resource, stacked
from platform_core.admin_filters import ChoiceFilter
from platform_core.outbox.models import OutboxMessage
from platform_core.outbox.queue import redrive
from platform_core.vocabulary import MessageKind


class StateFilter(ChoiceFilter):
    title, parameter_name = "state", "state"
    options = tuple(OutboxMessage.State.choices)

    def matching(self, rows: QuerySet[OutboxMessage], text: str) -> QuerySet[OutboxMessage]:
        return rows.filter(state=text)


class PurposeFilter(ChoiceFilter):
    title, parameter_name = "purpose", "purpose"
    options = (("webhooks", "deliveries to webhooks"),)

    def matching(self, rows: QuerySet[OutboxMessage], text: str) -> QuerySet[OutboxMessage]:
        return rows.filter(kind=MessageKind.WEBHOOK_DELIVER)


@admin.register(OutboxMessage)
class OutboxMessageAdmin(ReadOnlyAdmin):
    list_display = (*("shown_key", "about", "purpose", "shown_state", "attempts", "times", "last_error"),)
    list_filter = (StateFilter, PurposeFilter)
    list_filter_submit = True
    search_fields = ("key", "aggregate", "request_id")
    search_help_text = "key, aggregate such as order:1, or request id"
    saved_views = {"All": {}, "Waiting": {"state": "pending"}, "Dead": {"state": "dead"}}
    actions = ("redrive_dead",)

    @display(description="key")  # type: ignore[untyped-decorator]
    def shown_key(self, message: OutboxMessage) -> SafeString:
        return stacked(message.key)

    @display(description="kind, destination")  # type: ignore[untyped-decorator]
    def purpose(self, message: OutboxMessage) -> SafeString:
        return stacked(message.kind, message.destination)

    @display(description="written, delivered")  # type: ignore[untyped-decorator]
    def times(self, message: OutboxMessage) -> SafeString:
        moments = [each for each in (message.created_at, message.delivered_at) if each is not None]
        return stacked(*(localtime(each).strftime("%Y-%m-%d %H:%M:%S") for each in moments))

    @display(description="about")  # type: ignore[untyped-decorator]
    def about(self, message: OutboxMessage) -> SafeString | str:
        kind, _, pk = message.aggregate.partition(":")
        return linked_resource(kind, pk, message.aggregate) if pk else message.aggregate

    @display(description="state", label={"pending": "info", "delivered": "success", "dead": "danger"})  # type: ignore[untyped-decorator]
    def shown_state(self, message: OutboxMessage) -> str:
        return message.state

    @admin.action(description="Deliver dead messages again", permissions=["operate"])
    def redrive_dead(self, request: HttpRequest, queryset: Any) -> None:
        count = redrive(queryset)
        self.message_user(request, f"{count} dead messages will be tried again.", messages.SUCCESS)
