"""The documented features of drf-spectacular work with our schema class."""

from typing import Any

import pytest
from django.urls import path, re_path
from drf_spectacular.extensions import OpenApiSerializerExtension, OpenApiSerializerFieldExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    extend_schema_field,
    extend_schema_serializer,
)
from rest_framework import serializers
from rest_framework.filters import BaseFilterBackend
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from platform_core.api.fields import IdField, OptionalStringField, StringField, WholeField
from platform_core.api.idempotency import takes_key
from platform_core.api.queries import Query

OWN_QUERY: Any = [{"name": "colour", "in": "query", "required": False, "schema": {"type": "string"}}]


class ThingSerializer(serializers.Serializer):
    id = IdField(read_only=True)
    name = StringField(max_length=20)


class OtherSerializer(serializers.Serializer):
    number = serializers.IntegerField()


class ThingQuery(Query):
    shape = serializers.CharField(required=False)


class ColourFilter(BaseFilterBackend):
    def get_schema_operation_parameters(self, view):
        return OWN_QUERY


class ThingViewSet(GenericViewSet):
    """Things."""

    serializer_class: Any = ThingSerializer

    def list(self, request):
        """All things."""

    def create(self, request):
        """Make a thing."""

    def retrieve(self, request, pk):
        """One thing."""


@pytest.fixture
def described(capsys):
    """The document of one view, generated without a warning."""

    def generate(view, route=r"^api/things/?$", **actions):
        callback = view.as_view(actions or {"get": "list", "post": "create"}) if "list" in dir(view) else view.as_view()
        document = SchemaGenerator(patterns=[re_path(route, callback)]).get_schema(public=True)
        said = capsys.readouterr()
        assert "Warning" not in said.err and "Error" not in said.err
        return document

    return generate


@pytest.fixture
def schema_of(described):
    """The schema of a serializer in answers, or in requests."""

    def schema(serializer_class, *, of="response"):
        view = type("ThingViewSet", (ThingViewSet,), {"serializer_class": serializer_class})
        components = described(view, post="create")["components"]["schemas"]
        name = serializer_class.__name__.removesuffix("Serializer")
        return components[name + "Request" if of == "request" else name]

    return schema


def operation(document, method="get", path="/api/things"):
    return document["paths"][path][method]


def parameter(found, name):
    return next((each for each in found["parameters"] if each.get("name") == name), None)


def body(response, media_type="application/json"):
    return response["content"][media_type]["schema"]


def test_parameters_of_a_view_are_added(described):
    class View(ThingViewSet):
        @extend_schema(parameters=[OpenApiParameter("since", OpenApiTypes.DATE, description="A day."), ThingQuery])
        def list(self, request):
            """All things."""

    found = operation(described(View))
    assert parameter(found, "since")["schema"] == {"type": "string", "format": "date"}
    assert parameter(found, "shape")["in"] == "query"
    assert {"$ref": "#/components/parameters/RequestId"} in found["parameters"]


def test_parameters_stand_in_the_order_path_query_header(described):
    class View(ThingViewSet):
        @extend_schema(parameters=[OpenApiParameter("A", str, "header"), OpenApiParameter("z", str, "query")])
        def retrieve(self, request, pk):
            """One thing."""

    document = described(View, r"^api/things/(?P<pk>[0-9]{1,19})$", get="retrieve")
    names = [each.get("name") for each in operation(document, path="/api/things/{id}")["parameters"]]
    assert names == ["id", "z", "A", None, None, None]


def test_a_view_can_leave_out_or_describe_a_common_header(described):
    class View(ThingViewSet):
        @extend_schema(
            parameters=[
                OpenApiParameter("X-Request-Timeout", location="header", exclude=True),
                OpenApiParameter("X-Request-ID", str, "header", description="As you like."),
            ]
        )
        def list(self, request):
            """All things."""

    found = operation(described(View))
    assert {"$ref": "#/components/parameters/RequestTimeout"} not in found["parameters"]
    assert parameter(found, "X-Request-ID")["description"] == "As you like."


def test_headers_of_an_answer_are_added(described):
    class View(ThingViewSet):
        @extend_schema(parameters=[OpenApiParameter("X-Colour", str, "header", response=[201])])
        def create(self, request):
            """Make a thing."""

    headers = operation(described(View), "post")["responses"]["201"]["headers"]
    assert headers["X-Colour"] == {"schema": {"type": "string"}}
    assert headers["ETag"] == {"$ref": "#/components/headers/ETag"}


def test_a_post_takes_a_key_if_it_is_marked(described):
    class View(ThingViewSet):
        @takes_key
        def create(self, request):
            """Make a thing."""

    key = {"$ref": "#/components/parameters/IdempotencyKey"}
    for view, takes in ((ThingViewSet, False), (View, True)):
        found = operation(described(view), "post")
        assert (key in found["parameters"], "422" in found["responses"]) == (takes, takes)


def test_a_view_names_the_actions_that_answer_conditionally(described):
    class View(ThingViewSet):
        conditional_actions = ("list",)

    for view, is_conditional in ((ThingViewSet, False), (View, True)):
        found = operation(described(view))
        named = {"$ref": "#/components/parameters/IfNoneMatch"} in found["parameters"]
        assert (named, "304" in found["responses"]) == (is_conditional, is_conditional)


def test_the_type_of_a_path_parameter_is_what_the_route_or_the_view_says(described):
    class View(ThingViewSet):
        @extend_schema(parameters=[OpenApiParameter("size", int, "path")])
        def retrieve(self, request, pk, size):
            """One thing."""

    document = described(View, r"^api/things/(?P<pk>[a-z]+)/(?P<size>[0-9]{1,19})$", get="retrieve")
    found = operation(document, path="/api/things/{id}/{size}")
    assert parameter(found, "id")["schema"] == {"type": "string", "pattern": "^[a-z]+$"}
    assert parameter(found, "size")["schema"] == {"type": "integer"}


def test_answers_of_a_view_are_its_own(described):
    class View(ThingViewSet):
        @extend_schema(
            responses={
                200: OtherSerializer,
                404: OpenApiResponse(OtherSerializer, description="Never heard of it."),
                410: None,
                503: OpenApiResponse(description="Come back tomorrow."),
            }
        )
        def list(self, request):
            """All things."""

    responses = operation(described(View))["responses"]
    assert body(responses["404"]) == {"$ref": "#/components/schemas/Other"}
    assert responses["404"]["description"] == "Never heard of it."
    assert responses["410"] == {"$ref": "#/components/responses/Gone"}
    assert responses["503"] == {"description": "Come back tomorrow."}
    assert responses["400"] == {"$ref": "#/components/responses/BadRequest"}
    assert list(responses) == sorted(responses)


def test_the_request_of_a_view_is_its_own(described):
    class View(ThingViewSet):
        @extend_schema(request=OtherSerializer)
        def create(self, request):
            """Make a thing."""

    content = operation(described(View), "post")["requestBody"]["content"]
    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/OtherRequest"}


def test_tags_texts_and_names_of_a_view_are_its_own(described):
    class View(ThingViewSet):
        @extend_schema(
            operation_id="countThings", tags=["numbers"], summary="Count", description="All.", deprecated=True
        )
        def list(self, request):
            """All things."""

    found = operation(described(View))
    assert (found["operationId"], found["tags"], found["summary"]) == ("countThings", ["numbers"], "Count")
    assert (found["description"], found["deprecated"]) == ("All.", True)


@pytest.mark.parametrize(("auth", "says"), [([{"accessToken": []}], True), ([], False)])
def test_the_auth_of_a_view_is_its_own(described, auth, says):
    class View(ThingViewSet):
        @extend_schema(auth=auth)
        def list(self, request):
            """All things."""

    found = operation(described(View))
    assert found.get("security", []) == auth
    assert ("403" in found["responses"]) == says


def test_an_operation_can_be_written_by_hand_or_left_out(described):
    by_hand = {"operationId": "byHand", "responses": {"200": {"description": "Fine."}}}

    class View(ThingViewSet):
        @extend_schema(operation=by_hand)
        def list(self, request):
            """All things."""

        @extend_schema(exclude=True)
        def create(self, request):
            """Make a thing."""

    document = described(View)
    assert operation(document)["operationId"] == "byHand"
    assert operation(document)["responses"] == by_hand["responses"]
    assert "post" not in document["paths"]["/api/things"]


def test_extend_schema_works_on_a_plain_view(described):
    class View(APIView):
        """Things."""

        @extend_schema(operation_id="allThings", responses=OtherSerializer(many=True), tags=["numbers"])
        def get(self, request):
            """All things."""

    found = operation(described(View))
    assert (found["operationId"], found["tags"]) == ("allThings", ["numbers"])
    assert body(found["responses"]["200"]) == {"type": "array", "items": {"$ref": "#/components/schemas/Other"}}


@pytest.mark.parametrize("base", [StringField, IdField, WholeField, serializers.ChoiceField])
def test_a_field_can_say_what_it_is(schema_of, base):
    @extend_schema_field({"type": "string", "format": "colour"})
    class ColourField(base):
        pass

    class PaintSerializer(serializers.Serializer):
        colour = ColourField(**({"choices": ["red"]} if base is serializers.ChoiceField else {}))

    for direction in ("request", "response"):
        found = schema_of(PaintSerializer, of=direction)["properties"]["colour"]
        assert (found["type"], found["format"]) == ("string", "colour")
        assert "pattern" not in found


def test_an_optional_text_can_say_what_it_is(schema_of):
    either = {"oneOf": [{"type": "string", "pattern": "^#"}, {"type": "string", "enum": ["red"]}]}

    @extend_schema_field(either)
    class ColourField(OptionalStringField):
        pass

    class PaintSerializer(serializers.Serializer):
        colour = ColourField()

    assert schema_of(PaintSerializer, of="request")["properties"]["colour"]["oneOf"] == either["oneOf"]


def test_a_text_that_may_be_empty_is_one_type(schema_of):
    class PaintSerializer(serializers.Serializer):
        colour = OptionalStringField(max_length=9)

    found = schema_of(PaintSerializer, of="request")["properties"]["colour"]
    assert found == {"type": ["string", "null"], "maxLength": 9, "pattern": r"^[^\x00-\x1f\x7f]*$"}
    assert schema_of(PaintSerializer)["properties"]["colour"] == {"type": "string", "maxLength": 9}


def test_a_method_field_has_the_type_of_its_hint_or_decorator(schema_of):
    class CountsSerializer(serializers.Serializer):
        total = serializers.SerializerMethodField()
        names = serializers.SerializerMethodField()
        seen = serializers.SerializerMethodField()
        other = serializers.SerializerMethodField()

        def get_total(self, thing) -> int:
            return 1

        def get_names(self, thing) -> list[str]:
            return []

        @extend_schema_field(OpenApiTypes.DATETIME)
        def get_seen(self, thing):
            return "2030-01-01T00:00:00Z"

        @extend_schema_field(OtherSerializer(many=True))
        def get_other(self, thing):
            return []

    found = schema_of(CountsSerializer)
    assert found["required"] == ["total", "names", "seen", "other"]
    types = {
        name: {key: value[key] for key in value.keys() - {"readOnly"}} for name, value in found["properties"].items()
    }
    assert types == {
        "total": {"type": "integer"},
        "names": {"type": "array", "items": {"type": "string"}},
        "seen": {"type": "string", "format": "date-time"},
        "other": {"type": "array", "items": {"$ref": "#/components/schemas/Other"}},
    }


def test_choices_may_be_numbers_several_or_null(schema_of):
    class ChoiceSerializer(serializers.Serializer):
        number = serializers.ChoiceField(choices=[1, 2])
        several = serializers.MultipleChoiceField(choices=[("a", "The first"), ("b", "The second")])
        perhaps = serializers.ChoiceField(choices=["a"], allow_null=True)

    found = schema_of(ChoiceSerializer)["properties"]
    assert found["number"] == {"type": "integer", "enum": [1, 2]}
    assert found["several"] == {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}}
    assert found["perhaps"] == {"type": ["string", "null"], "enum": ["a", None]}


def test_a_serializer_can_name_itself_and_leave_out_fields(schema_of, described):
    @extend_schema_serializer(
        component_name="Pot", exclude_fields=["secret"], deprecate_fields=["colour"], description="Of paint."
    )
    class PaintSerializer(serializers.Serializer):
        colour = StringField()
        secret = StringField()

    class View(ThingViewSet):
        serializer_class = PaintSerializer

    pot = described(View)["components"]["schemas"]["Pot"]
    assert list(pot["properties"]) == pot["required"] == ["colour"]
    assert (pot["properties"]["colour"]["deprecated"], pot["description"]) == (True, "Of paint.")


def test_a_serializer_can_say_that_it_is_no_list(described):
    @extend_schema_serializer(many=False)
    class AllThingsSerializer(serializers.Serializer):
        things = ThingSerializer(many=True)

    class View(ThingViewSet):
        @extend_schema(responses=AllThingsSerializer)
        def list(self, request):
            """All things."""

    assert body(operation(described(View))["responses"]["200"]) == {"$ref": "#/components/schemas/AllThings"}


def test_a_list_of_any_action_is_in_pages(described):
    class View(ThingViewSet):
        @extend_schema(responses={200: ThingSerializer(many=True)})
        def best(self, request):
            """The best things."""

    responses = operation(described(View, get="best"))["responses"]
    assert body(responses["200"]) == {"$ref": "#/components/schemas/ThingPage"}


def test_pages_are_those_of_the_pagination_class(described):
    class View(ThingViewSet):
        pagination_class = LimitOffsetPagination

    document = described(View)
    assert parameter(operation(document), "offset")["schema"] == {"type": "integer"}
    assert set(document["components"]["schemas"]["ThingPage"]["properties"]) == {"count", "next", "previous", "results"}


def test_a_view_without_a_pagination_class_answers_with_a_plain_list(described):
    class View(ThingViewSet):
        pagination_class = None

    things = {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}}
    assert body(operation(described(View))["responses"]["200"]) == things


def test_the_paginator_describes_the_pages_and_the_query_the_filters_of_any_list(described):
    class Pagination(LimitOffsetPagination):
        def get_schema_operation_parameters(self, view):
            return [{"name": "page", "in": "query", "schema": {"type": "integer"}}]

    class View(ThingViewSet):
        pagination_class = Pagination
        query_class = ThingQuery

        @extend_schema(responses={200: ThingSerializer(many=True)})
        def best(self, request):
            """The best things."""

    for found in (operation(described(View)), operation(described(View, get="best"))):
        assert parameter(found, "shape")
        assert parameter(found, "page")["schema"] == {"type": "integer"}
    assert parameter(operation(described(View), "post"), "page") is None


def test_filters_are_those_of_the_filter_backends(described):
    class View(ThingViewSet):
        filter_backends = [ColourFilter]

    document = described(View)
    assert parameter(operation(document), "colour") == OWN_QUERY[0]
    assert parameter(operation(document, "post"), "colour") is None


class OddField(IdField):
    pass


class OddSerializer(serializers.Serializer):
    field = OddField()


class EvenSerializer(serializers.Serializer):
    field = OddField()


class OddFieldType(OpenApiSerializerFieldExtension):
    target_class = OddField
    priority = 1

    def map_serializer_field(self, auto_schema, direction):
        return {"type": "string", "format": "odd"}


class EvenSchema(OpenApiSerializerExtension):
    target_class = EvenSerializer

    def map_serializer(self, auto_schema, direction):
        return {"type": "object", "additionalProperties": {"type": "integer"}}


def test_extensions_for_a_field_or_a_serializer_take_precedence(schema_of):
    assert schema_of(OddSerializer)["properties"]["field"] == {"type": "string", "format": "odd"}
    assert schema_of(EvenSerializer) == {"type": "object", "additionalProperties": {"type": "integer"}}


def test_the_attribute_openapi_adds_to_the_schema(schema_of):
    class ColourField(StringField):
        openapi = {"format": "colour"}

    class PaintSerializer(serializers.Serializer):
        openapi = {"minProperties": 1}
        colour = ColourField()

    found = schema_of(PaintSerializer)
    assert (found["minProperties"], found["properties"]["colour"]["format"]) == (1, "colour")


def test_a_route_of_django_is_described(described):
    callback = ThingViewSet.as_view({"get": "retrieve"})
    document = SchemaGenerator(patterns=[path("api/things/<int:thing_id>", callback)]).get_schema(public=True)
    (found,) = document["paths"]["/api/things/{thingId}"]["get"]["parameters"][:1]
    assert found == {"in": "path", "name": "thingId", "schema": {"type": "integer"}, "required": True}
