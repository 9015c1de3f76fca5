"""``/api/people/{id}``: what a service holds of a person. For user-service alone."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from platform_core.api.fields import WholeField
from platform_core.api.queries import Query, read_query
from platform_core.http.errors import NotFound
from platform_core.privacy.erasing import erase_person
from platform_core.privacy.exporting import Position, rows_of
from platform_core.vocabulary import MAX_ID


class PersonQuery(Query):
    """The query parameters of the export."""

    after = serializers.RegexField(
        r"^[0-9]{1,2}-[0-9]{1,18}\Z", required=False, help_text="The position of the last row read, as in `next`."
    )
    limit = WholeField(default=200, min_value=1, max_value=200, help_text="Maximum number of rows.")


class PersonRowSerializer(serializers.Serializer[Any]):
    """A row of a person."""

    table = serializers.CharField()
    row = serializers.DictField(help_text="Its columns by name.")


class PersonSerializer(serializers.Serializer[Any]):
    """A page of what a service holds of a person."""

    results = PersonRowSerializer(many=True)
    next = serializers.CharField(allow_null=True, help_text="The path of the following page.")


class PersonView(APIView):
    """What this service holds of a person, and its erasure. For user-service alone."""

    @extend_schema(operation_id="getPerson", parameters=[PersonQuery], responses={200: PersonSerializer})
    def get(self, request: Request, user_id: str) -> Response:
        """The rows with data of a person, table by table."""
        query = read_query(request, PersonQuery)
        pk, limit = _id(user_id), query["limit"]
        after = Position(*map(int, query["after"].split("-"))) if query.get("after") else Position()
        found = list(rows_of(pk, after, limit + 1))
        page = found[:limit]
        following = f"/api/people/{pk}?after={page[-1].position}&limit={limit}" if len(found) > limit else None
        return Response({"results": [{"table": each.table, "row": each.row} for each in page], "next": following})

    @extend_schema(operation_id="erasePerson", responses={204: None})
    def delete(self, request: Request, user_id: str) -> Response:
        """Erase a person's data, now and in future. May be repeated. 503: not finished; a repetition goes on."""
        erase_person(_id(user_id))
        return Response(status=204)


def _id(text: str) -> int:
    if int(text) > MAX_ID:
        raise NotFound()
    return int(text)
