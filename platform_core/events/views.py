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
from platform_core.events.log import Position, read

PENDING_HEADER = "Feed-Pending"


class CloudEventsRenderer(JSONRenderer):
    media_type = "application/cloudevents-batch+json"
    format = "cloudevents"


@extend_schema_field({"type": "string", "pattern": "^[0-9]{1,9}-[0-9]{1,18}-[0-9]{1,18}$"})
class EventIdField(serializers.CharField):
    """The id of an event, which is its place in the feed."""


class FeedQuery(Query):
    lastEventId = EventIdField(
        default="0-0-0", max_length=60, trim_whitespace=False, help_text="The last event you have seen."
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

    `Feed-Pending: true` says that something is committed that cannot be shown yet: ask again.
    """

    renderer_classes = (CloudEventsRenderer, JSONRenderer, BrowsableAPIRenderer)

    @extend_schema(
        operation_id="listEvents",
        parameters=[FeedQuery, OpenApiParameter(PENDING_HEADER, str, "header", enum=["true"], response=[200])],
        responses={200: OpenApiResponse(EventSerializer(many=True))},
    )
    def get(self, request: Request) -> Response:
        query = read_query(request, FeedQuery)
        batch = read(Position.parse(query["lastEventId"]), query["limit"])
        return Response(batch.events, headers={PENDING_HEADER: "true"} if batch.pending else None)
