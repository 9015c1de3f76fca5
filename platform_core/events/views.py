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
from platform_core.auth.access import caller_of
from platform_core.auth.identity import Kind
from platform_core.events import consumers, history
from platform_core.events.log import LAST_SEQUENCE, Batch, Position, read
from platform_core.http.errors import Gone
from platform_core.observability import metrics

PENDING_HEADER = "Feed-Pending"
POSITION_HEADER = "Feed-Position"


class CloudEventsRenderer(JSONRenderer):
    """JSON with the media type of a batch of CloudEvents."""

    media_type = "application/cloudevents-batch+json"
    format = "cloudevents"


@extend_schema_field({"type": "string", "pattern": "^[0-9]{1,9}-[0-9]{1,18}-[0-9]{1,18}$"})
class EventIdField(serializers.CharField):
    """The id of an event, which is its position in the feed."""


class FeedQuery(Query):
    """The query parameters of the feed."""

    lastEventId = EventIdField(
        default=None,
        max_length=60,
        trim_whitespace=False,
        help_text="Id of the last event you have read; `0-0-0`: the beginning. Default: the oldest kept event.",
    )
    limit = WholeField(default=100, min_value=1, max_value=1000, help_text="Maximum number of events.")


class EventSerializer(serializers.Serializer[Any]):
    """A CloudEvent 1.0, for the OpenAPI document."""

    specversion = serializers.CharField()
    id = serializers.CharField()
    type = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]
    subject = serializers.CharField()
    time = serializers.DateTimeField()
    datacontenttype = serializers.CharField()
    data = serializers.DictField()  # type: ignore[assignment]


class EventFeed(APIView):
    """The events of this service after `lastEventId`, oldest first. Empty if there is nothing newer.

    `Feed-Pending: true` means that committed events cannot be shown yet: ask again. `Feed-Position` is the position up
    to which the feed is final: a consumer that loads its state from the lists continues from there. Events are not
    deleted before all consumers that send their name in `Feed-Consumer` have read them. A request for events that have
    been deleted returns 410 `events_expired`, and one for events after a position that the feed has not reached 410
    `events_lost`.
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
            if after > batch.horizon:
                raise _lost(request, after, batch)
            if consumer:
                consumers.acknowledge(consumer, after, batch.acknowledged)
        return Response(batch.events, headers=_headers(batch))


def _check(after: Position, batch: Batch) -> None:
    """Raises Gone if events after ``after`` have been deleted."""
    if after >= batch.start:
        return
    metrics.feed_refused.inc()
    raise Gone(
        f"Events up to {batch.start} have been deleted. Load your data from the lists of this service again "
        f"(analytics-service: `manage.py analytics_svc rebuild`), then continue with lastEventId={batch.horizon}.",
        code="events_expired",
        headers=_headers(batch),
    )


def _lost(request: Request, after: Position, batch: Batch) -> Gone:
    """The error for a position that this feed has not reached.

    An event is shown only below the horizon, and the horizon never moves back. So a consumer that has read such an
    event proves that the database has lost transactions. Only the word of a service counts as proof.
    """
    caller = caller_of(request)
    if caller.kind is Kind.SERVICE and after.sequence < LAST_SEQUENCE:
        history.mark_lost(f"{caller.subject} has read this feed up to {after}, and it ends at {batch.horizon}.")
    return Gone(
        f"This feed ends at {batch.horizon}, before {after}. If that is the id of an event of this feed, the database "
        "has lost transactions. Load your data from the lists of this service again (analytics-service: `manage.py "
        f"analytics_svc rebuild`), then continue with lastEventId={batch.horizon}.",
        code="events_lost",
        headers=_headers(batch),
    )


def _headers(batch: Batch) -> dict[str, str]:
    pending = {PENDING_HEADER: "true"} if batch.hidden is not None else {}
    return {POSITION_HEADER: str(batch.horizon), **pending}
