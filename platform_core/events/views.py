"""``GET /api/events``: the feed that consumers poll."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from platform_core.api.browsable import BrowsableAPIRenderer
from platform_core.api.fields import WholeField
from platform_core.api.json import JSONRenderer
from platform_core.api.queries import Query, read_query
from platform_core.events import consumers
from platform_core.events.log import Batch, Position, read
from platform_core.http.errors import Gone
from platform_core.observability import metrics

PENDING_HEADER = "Feed-Pending"
POSITION_HEADER = "Feed-Position"


class CloudEventsRenderer(JSONRenderer):
    media_type = "application/cloudevents-batch+json"
    format = "cloudevents"


@extend_schema_field({"type": "string", "pattern": "^[0-9]{1,9}-[0-9]{1,18}-[0-9]{1,18}$"})
class EventIdField(serializers.CharField):
    """The id of an event, which is its place in the feed."""


class FeedQuery(Query):
    lastEventId = EventIdField(
        default=None,
        max_length=60,
        trim_whitespace=False,
        help_text="The last event you have seen; `0-0-0` before the first. Left out: from the first that is kept.",
    )
    limit = WholeField(default=100, min_value=1, max_value=1000, help_text="At most so many events.")


class EventSerializer(serializers.Serializer[Any]):
    specversion = serializers.CharField()
    id = serializers.CharField()
    type = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]
    subject = serializers.CharField()
    time = serializers.DateTimeField()
    datacontenttype = serializers.CharField()
    data = serializers.DictField()  # type: ignore[assignment]


class EventFeed(APIView):
    """What happened in this service, oldest first, behind `lastEventId`. Empty when there is nothing newer.

    `Feed-Pending: true` says that something is committed that cannot be shown yet: ask again. `Feed-Position` is the
    place up to which everything is decided: whoever takes what there is from the lists reads on from there. A consumer
    that gives its name in `Feed-Consumer` holds back the deletion of what it has not read. Who asks from a place before
    what was deleted gets 410 `events_expired`.
    """

    may_be_polled = True

    renderer_classes = (CloudEventsRenderer, JSONRenderer, BrowsableAPIRenderer)

    @extend_schema(
        operation_id="listEvents",
        parameters=[
            FeedQuery,
            OpenApiParameter(consumers.HEADER, {"type": "string", "pattern": "^[a-z0-9-]{1,64}$"}, "header"),
            OpenApiParameter(PENDING_HEADER, str, "header", enum=["true"], response=[200]),
            OpenApiParameter(POSITION_HEADER, str, "header", response=[200]),
        ],
        responses={200: OpenApiResponse(EventSerializer(many=True)), 409: None, 410: None},
    )
    def get(self, request: Request) -> Response:
        query = read_query(request, FeedQuery)
        consumer = consumers.consumer_of(request)
        after = Position.parse(query["lastEventId"]) if query["lastEventId"] is not None else None
        batch = read(after or Position(), query["limit"], consumer)
        metrics.feed_hidden_seconds.set(batch.hidden or 0)
        if after is not None:
            _check(after, batch)
            if consumer:
                consumers.acknowledge(consumer, after, batch.acknowledged)
        return Response(batch.events, headers=_headers(batch))


def _check(after: Position, batch: Batch) -> None:
    """Raises Gone when events that follow ``after`` have been deleted."""
    if after >= batch.start:
        return
    metrics.feed_refused.inc()
    raise Gone(
        f"Events up to {batch.start} have been deleted. Make what you keep anew from the lists of this service "
        f"(analytics-service: `manage.py analytics_svc rebuild`), then read on with lastEventId={batch.horizon}.",
        code="events_expired",
        headers=_headers(batch),
    )


def _headers(batch: Batch) -> dict[str, str]:
    pending = {PENDING_HEADER: "true"} if batch.hidden is not None else {}
    return {POSITION_HEADER: str(batch.horizon), **pending}
