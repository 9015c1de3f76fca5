"""Every documented extension point of DRF works on our viewsets."""

from datetime import UTC, datetime, timedelta
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from django.db.models import F, QuerySet
from django.urls import include, path
from rest_framework import (
    authentication,
    filters,
    metadata,
    pagination,
    parsers,
    permissions,
    renderers,
    serializers,
    throttling,
    versioning,
)
from rest_framework.decorators import action
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.response import Response

from order_svc.models import Order, OrderLine
from order_svc.serializers import OrderSerializer
from order_svc.views import OrderViewSet
from platform_core.api.docs import DocsView, SchemaView
from platform_core.api.routers import Router

pytestmark = pytest.mark.django_db
PAST = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def orders() -> list[Order]:
    """Three orders with a line each, the oldest first."""
    made = [
        Order.objects.create(user_id=n, currency="USD", status="rejected", reason=f"r{n}", created_at=PAST)
        for n in (1, 2, 3)
    ]
    for order in made:
        OrderLine.objects.create(order=order, product_id=7, quantity=2)
    return made


@pytest.fixture
def serve(settings, api):
    """Serves a viewset in place of the orders and returns a client."""

    def serve(viewset: type[OrderViewSet]) -> Any:
        router = Router()
        router.register("api/orders", viewset, basename="order")
        settings.ROOT_URLCONF = urlconf(path("", include(router.urls)))
        return api

    return serve


def urlconf(*patterns: Any) -> ModuleType:
    """A module of URLs."""
    module = ModuleType("urls_of_a_test")
    names = {400: "bad_request", 403: "permission_denied", 404: "not_found", 500: "server_error"}
    vars(module).update({f"handler{status}": f"platform_core.api.problems.{name}" for status, name in names.items()})
    module.urlpatterns = list(patterns)  # type: ignore[attr-defined]
    return module


def ids(response: Any) -> list[str]:
    assert response.status_code == 200, response.content
    return [row["id"] for row in response.json()["results"]]


class RefusesAll(throttling.BaseThrottle):
    def allow_request(self, request: Any, view: Any) -> bool:
        return False

    def wait(self) -> float:
        return 7


class ApiKey(authentication.BaseAuthentication):
    def authenticate(self, request: Any) -> Any:
        key = request.headers.get("X-Api-Key")
        return (SimpleNamespace(is_authenticated=True, name=key), key) if key else None


class Nobody(permissions.BasePermission):
    def has_permission(self, request: Any, view: Any) -> bool:
        return False


class OnlyTheFirst(permissions.BasePermission):
    def has_object_permission(self, request: Any, view: Any, obj: Any) -> bool:
        assert isinstance(obj, Order)
        return obj.user_id == 1


class Shout(renderers.BaseRenderer):
    media_type, format = "text/x-shout", "shout"

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> bytes:
        return str(data["id"]).encode() + b"!"


class Last(BaseContentNegotiation):
    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[-1], renderers[-1].media_type


class Pairs(parsers.BaseParser):
    """``userId=1 productId=2``"""

    media_type = "text/x-pairs"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        return dict(pair.split("=") for pair in stream.read().decode().split())


# Throttles, authenticators, permissions


@pytest.mark.parametrize(
    "attributes",
    [{"throttle_classes": [RefusesAll]}, {"get_throttles": lambda self: [RefusesAll()]}],
    ids=["class", "method"],
)
def test_throttles_are_asked(serve, orders, attributes) -> None:
    response = serve(type("V", (OrderViewSet,), attributes)).get("/api/orders")
    assert response.status_code == 429
    assert response["Retry-After"] == "8"


def test_a_throttle_of_one_action_is_asked_there_alone(serve, orders) -> None:
    class V(OrderViewSet):
        @action(detail=False, throttle_classes=[RefusesAll])
        def latest(self, request: Any) -> Response:
            return Response({})

    api = serve(V)
    assert api.get("/api/orders/latest").status_code == 429
    assert api.get("/api/orders").status_code == 200


def test_arguments_of_as_view_take_effect(settings, api, orders) -> None:
    view = OrderViewSet.as_view({"get": "list"}, throttle_classes=[RefusesAll])
    settings.ROOT_URLCONF = urlconf(path("some", view))
    assert api.get("/some").status_code == 429


@pytest.mark.parametrize(
    "attributes",
    [{"authentication_classes": [ApiKey]}, {"get_authenticators": lambda self: [ApiKey()]}],
    ids=["class", "method"],
)
def test_authenticators_are_asked_without_a_cookie(serve, orders, attributes) -> None:
    class V(OrderViewSet):
        @action(detail=False)
        def me(self, request: Any) -> Response:
            return Response({"name": getattr(request.user, "name", None), "auth": request.auth})

    api = serve(type("W", (V,), attributes))
    assert api.get("/api/orders/me", headers={"X-Api-Key": "k"}).json() == {"name": "k", "auth": "k"}
    assert api.get("/api/orders/me").json() == {"name": None, "auth": None}


def test_an_authenticator_that_refuses_is_a_401_with_its_challenge(serve, orders) -> None:
    from rest_framework.exceptions import AuthenticationFailed

    class Refuses(authentication.BaseAuthentication):
        def authenticate(self, request: Any) -> Any:
            raise AuthenticationFailed("no")

        def authenticate_header(self, request: Any) -> str:
            return "Key"

    response = serve(type("V", (OrderViewSet,), {"authentication_classes": [Refuses]})).get("/api/orders")
    assert (response.status_code, response["WWW-Authenticate"]) == (401, "Key")


@pytest.mark.parametrize(
    "attributes",
    [{"permission_classes": [Nobody]}, {"get_permissions": lambda self: [Nobody()]}],
    ids=["class", "method"],
)
def test_permissions_are_asked(serve, orders, attributes) -> None:
    nameless = {**attributes, "authentication_classes": []}  # otherwise DRF asks anonymous callers to sign in
    assert serve(type("V", (OrderViewSet,), nameless)).get("/api/orders").status_code == 403


def test_permissions_are_asked_about_the_object(serve, orders) -> None:
    api = serve(type("V", (OrderViewSet,), {"permission_classes": [OnlyTheFirst], "authentication_classes": []}))
    first, second = orders[0].pk, orders[1].pk
    assert api.get(f"/api/orders/{first}").status_code == 200
    assert api.get(f"/api/orders/{second}").status_code == 403
    assert api.post(f"/api/orders/{second}/cancel").status_code == 403
    assert api.post(f"/api/orders/{first}/cancel").status_code == 409


# Parsers, renderers, negotiation, metadata, versions


@pytest.mark.parametrize(
    "attributes",
    [{"parser_classes": [Pairs]}, {"get_parsers": lambda self: [Pairs()]}],
    ids=["class", "method"],
)
def test_parsers_read_the_body(serve, orders, attributes) -> None:
    api = serve(type("V", (OrderViewSet,), attributes))
    response = api.client.generic("POST", "/api/orders", b"userId=x productId=2", content_type="text/x-pairs")
    assert {error["field"] for error in response.json()["errors"]} == {"userId"}


def test_an_error_is_a_problem_whatever_the_renderer_makes_of_an_answer(serve, orders) -> None:
    api = serve(type("V", (OrderViewSet,), {"renderer_classes": [*OrderViewSet.renderer_classes, Shout]}))
    answer = api.get("/api/orders/999999", headers={"Accept": "text/x-shout"})
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")


@pytest.mark.parametrize(
    "attributes",
    [{"renderer_classes": [Shout]}, {"get_renderers": lambda self: [Shout()]}],
    ids=["class", "method"],
)
def test_renderers_make_the_answer(serve, orders, attributes) -> None:
    api = serve(type("V", (OrderViewSet,), attributes))
    response = api.get(f"/api/orders/{orders[0].pk}", headers={"Accept": "text/x-shout"})
    assert response.content == f"{orders[0].pk}!".encode()
    assert response["Content-Type"].startswith("text/x-shout")


def test_the_negotiation_class_chooses_the_renderer(serve, orders) -> None:
    attributes = {"content_negotiation_class": Last, "renderer_classes": [*OrderViewSet.renderer_classes, Shout]}
    response = serve(type("V", (OrderViewSet,), attributes)).get(f"/api/orders/{orders[0].pk}")
    assert response.content == f"{orders[0].pk}!".encode()


def test_the_metadata_class_answers_options(serve, orders) -> None:
    api = serve(type("V", (OrderViewSet,), {"metadata_class": metadata.SimpleMetadata}))
    response = api.options("/api/orders")
    assert response.status_code == 200
    assert response.json()["name"] == "V List"


def test_the_version_is_determined(serve, orders) -> None:
    class V(OrderViewSet):
        versioning_class = versioning.AcceptHeaderVersioning

        def retrieve(self, request: Any, pk: int) -> Response:
            return Response({"version": request.version})

    response = serve(V).get(f"/api/orders/{orders[0].pk}", headers={"Accept": "application/json; version=2"})
    assert response.json() == {"version": "2"}


# Querysets and filters


def test_get_queryset_decides_which_rows_there_are(serve, orders) -> None:
    class V(OrderViewSet):
        def get_queryset(self) -> Any:
            return super().get_queryset().filter(user_id=2)

    api = serve(V)
    assert ids(api.get("/api/orders")) == [str(orders[1].pk)]
    assert api.get(f"/api/orders/{orders[1].pk}").status_code == 200
    for method, route in (("get", ""), ("post", "/cancel"), ("post", "/ship"), ("post", "/deliver")):
        assert getattr(api, method)(f"/api/orders/{orders[0].pk}{route}").status_code == 404, route


def test_get_queryset_may_give_nothing(serve, orders) -> None:
    api = serve(type("V", (OrderViewSet,), {"get_queryset": lambda self: Order.objects.none()}))
    assert ids(api.get("/api/orders")) == []
    assert api.get(f"/api/orders/{orders[0].pk}").status_code == 404


def test_the_queryset_of_the_class_and_of_as_view_counts(serve, settings, api, orders) -> None:
    assert ids(serve(type("V", (OrderViewSet,), {"queryset": Order.objects.filter(user_id=3)})).get("/api/orders")) == [
        str(orders[2].pk)
    ]
    view = OrderViewSet.as_view({"get": "list"}, queryset=Order.objects.filter(user_id=1))
    settings.ROOT_URLCONF = urlconf(path("some", view))
    assert ids(api.get("/some")) == [str(orders[0].pk)]


def test_no_value_of_an_earlier_request_is_kept(serve, orders) -> None:
    """A queryset that uses the present time evaluates it in each request."""
    clock = [PAST - timedelta(hours=1)]

    class V(OrderViewSet):
        def get_queryset(self) -> Any:
            return super().get_queryset().filter(created_at__lt=clock[0])

    api = serve(V)
    assert ids(api.get("/api/orders")) == []
    clock[0] = PAST + timedelta(hours=5)
    assert len(ids(api.get("/api/orders"))) == 3
    clock[0] = PAST - timedelta(hours=1)
    assert ids(api.get("/api/orders")) == []


def test_filter_queryset_filters_lists_and_lookups(serve, orders) -> None:
    class V(OrderViewSet):
        def filter_queryset(self, queryset: Any) -> Any:
            return super().filter_queryset(queryset).exclude(user_id=2)

    api = serve(V)
    assert ids(api.get("/api/orders")) == [str(orders[2].pk), str(orders[0].pk)]
    assert ids(api.get("/api/orders?userId=2")) == []
    assert api.get(f"/api/orders/{orders[1].pk}").status_code == 404


def test_a_filter_queryset_of_ones_own_decides_alone_what_a_repeated_filter_finds(serve, orders) -> None:
    """The merge of a repeated filter's values must not take away rows that an override has added."""
    Order.objects.filter(pk=orders[0].pk).update(status="pending")

    class V(OrderViewSet):
        def filter_queryset(self, queryset: Any) -> Any:
            return super().filter_queryset(queryset) | queryset.filter(status="pending")

    api = serve(V)
    assert ids(api.get("/api/orders?status=rejected&status=shipped")) == [str(order.pk) for order in orders[::-1]]


@pytest.mark.parametrize(
    ("source", "values"),
    [
        ("user_id", ["1", "3", "2", "9"]),
        ("user_id__gte", ["2", "4", "1"]),
        ("reason", ["r2", "r1", "nothing"]),
        ("reason__startswith", ["r", "x"]),  # no comparison: compiled each time
    ],
)
def test_a_filter_finds_the_same_however_often_its_statement_was_used(serve, orders, source, values) -> None:
    from platform_core.api.queries import OrderingField, Query

    class AnyQuery(Query):
        wanted = serializers.CharField(source=source, required=False)
        ordering = OrderingField({"createdAt": "id", "user": "user_id"}, default="-createdAt")

        def validate_wanted(self, value: str) -> Any:
            return int(value) if source.startswith("user") else value

    api = serve(type("V", (OrderViewSet,), {"query_class": AnyQuery}))
    for value in values:
        expected = Order.objects.filter(**{source: value}).order_by("user_id")
        url, found = f"/api/orders?wanted={value}&ordering=user&limit=1", list[str]()
        while url:
            page = api.get(url)
            found += ids(page)
            url = page.json()["next"]
        assert found == [str(order.pk) for order in expected], value


def test_a_cursor_and_a_filter_on_the_same_column_keep_their_own_values(serve, orders) -> None:
    from platform_core.api.queries import OrderingField, Query

    class UserQuery(Query):
        user = serializers.IntegerField(source="user_id", required=False)
        ordering = OrderingField({"user": "user_id"}, default="user")

    for order, user in zip(orders, (3, 2, 1), strict=True):
        Order.objects.filter(pk=order.pk).update(user_id=user)
    api = serve(type("V", (OrderViewSet,), {"query_class": UserQuery}))
    behind_the_first = api.get("/api/orders?limit=1").json()["next"]
    assert ids(api.get(f"{behind_the_first}&user=3")) == [str(orders[0].pk)]


def test_a_value_that_is_more_than_compared_finds_what_the_orm_finds(serve, orders) -> None:
    from platform_core.api.queries import Query

    class OddQuery(Query):
        half = serializers.FloatField(source="user_id__gte", required=False)
        key = serializers.CharField(source="idempotency_key", required=False)

        def validate_key(self, value: str) -> None:
            return None

    api = serve(type("V", (OrderViewSet,), {"query_class": OddQuery}))
    assert ids(api.get("/api/orders?half=1.5")) == [str(order.pk) for order in orders[:0:-1]]
    assert ids(api.get("/api/orders?key=none")) == [str(order.pk) for order in orders[::-1]]


class SecondOnly(filters.BaseFilterBackend):
    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        return queryset.filter(user_id=2)


def test_filter_backends_are_used(serve, orders) -> None:
    backends = [*OrderViewSet.filter_backends, SecondOnly]
    api = serve(type("V", (OrderViewSet,), {"filter_backends": backends}))
    assert ids(api.get("/api/orders")) == [str(orders[1].pk)]
    assert api.get("/api/orders?nonsense=1").status_code == 400


def test_a_filter_of_drf_brings_its_own_parameter(serve, orders) -> None:
    backends = [*OrderViewSet.filter_backends, filters.SearchFilter]
    api = serve(type("V", (OrderViewSet,), {"filter_backends": backends, "search_fields": ["reason"]}))
    assert ids(api.get("/api/orders?search=r3")) == [str(orders[2].pk)]


def test_a_filter_method_gets_the_value_itself(serve, orders) -> None:
    from platform_core.api.queries import Query

    class LabelQuery(Query):
        label = serializers.CharField(required=False)

        def filter_label(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
            return queryset.filter(user_id=1) if value == "cheap" else queryset.filter(user_id__gt=1)

    api = serve(type("V", (OrderViewSet,), {"query_class": LabelQuery}))
    assert ids(api.get("/api/orders?label=dear")) == [str(orders[2].pk), str(orders[1].pk)]
    assert ids(api.get("/api/orders?label=cheap")) == [str(orders[0].pk)]


def test_a_row_is_looked_up_by_the_lookup_field(serve, orders) -> None:
    class V(OrderViewSet):
        lookup_field = "reason"
        lookup_value_regex = "[a-z0-9]+"

        def retrieve(self, request: Any, reason: str) -> Response:
            return self.shown(self.get_object())

    api = serve(V)
    assert api.get("/api/orders/r2").json()["id"] == str(orders[1].pk)
    assert api.get("/api/orders/r9").status_code == 404


def test_get_object_may_be_replaced(serve, orders) -> None:
    api = serve(type("V", (OrderViewSet,), {"get_object": lambda self: orders[2]}))
    assert api.get(f"/api/orders/{orders[0].pk}").json()["id"] == str(orders[2].pk)


@pytest.mark.parametrize("value", ["abc", "12abc", "a" * 300, "-1"])
def test_a_lookup_value_that_is_no_key_is_not_found(serve, orders, value) -> None:
    api = serve(type("V", (OrderViewSet,), {"lookup_value_regex": "[^/]+"}))
    assert api.get(f"/api/orders/{value}").status_code == 404
    assert api.get(f"/api/orders/{orders[0].pk}").status_code == 200


# Serializers


class WithLabel(OrderSerializer):
    label = serializers.SerializerMethodField()

    def get_label(self, order: Order) -> str:
        return f"{order.reason} {order.lines.all()[0].quantity}"


class Loud(OrderSerializer):
    def to_representation(self, instance: Any) -> Any:
        return {**super().to_representation(instance), "reason": instance.reason.upper()}


class LoudField(serializers.CharField):
    def to_representation(self, value: Any) -> str:
        return str(value).upper()


class WithLoudField(OrderSerializer):
    reason = LoudField()


class Fewer(OrderSerializer):
    def get_fields(self) -> Any:
        return {name: field for name, field in super().get_fields().items() if name in ("id", "reason")}


class FewerStill(OrderSerializer):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in set(self.fields) - {"id"}:
            self.fields.pop(name)


class OfTheModel(serializers.ModelSerializer[Order]):
    class Meta:
        model = Order
        fields = ("id", "reason")


class Dated(OrderSerializer):
    createdAt = serializers.DateTimeField(source="created_at", format="%Y")


@pytest.mark.parametrize(
    ("serializer", "member", "value"),
    [
        (WithLabel, "label", "r1 2"),
        (Loud, "reason", "R1"),
        (WithLoudField, "reason", "R1"),
        (Fewer, "status", None),
        (FewerStill, "reason", None),
        (OfTheModel, "reason", "r1"),
        (Dated, "createdAt", "2026"),
    ],
)
@pytest.mark.parametrize("how", ["class", "method"])
def test_a_serializer_says_what_is_answered(serve, orders, serializer, member, value, how) -> None:
    given = {"serializer_class": serializer} if how == "class" else {"get_serializer_class": lambda self: serializer}
    api = serve(type("V", (OrderViewSet,), given))
    for row in (api.get("/api/orders").json()["results"][-1], api.get(f"/api/orders/{orders[0].pk}").json()):
        assert str(row["id"]) == str(orders[0].pk)
        assert row.get(member) == value


def test_the_serializer_of_the_class_says_what_a_change_is_answered_with(serve, orders) -> None:
    Order.objects.filter(pk=orders[0].pk).update(status="confirmed", total=1, confirmed_at=PAST)
    api = serve(type("V", (OrderViewSet,), {"serializer_class": WithLabel}))
    answer = api.post(f"/api/orders/{orders[0].pk}/ship")
    assert (answer.status_code, answer.json()["status"], answer.json()["label"]) == (200, "shipped", "r1 2")


def test_get_serializer_may_change_what_it_makes(serve, orders) -> None:
    class V(OrderViewSet):
        def get_serializer(self, *args: Any, **kwargs: Any) -> Any:
            serializer = super().get_serializer(*args, **kwargs)
            getattr(serializer, "child", serializer).fields.pop("reason")
            return serializer

    api = serve(V)
    assert "reason" not in api.get("/api/orders").json()["results"][0]
    assert "reason" not in api.get(f"/api/orders/{orders[0].pk}").json()


def test_a_serializer_knows_the_request_and_the_view(serve, orders) -> None:
    class Asking(OrderSerializer):
        def to_representation(self, instance: Any) -> Any:
            return {"path": self.context["request"].path, "view": self.context["view"].action, "id": instance.pk}

    class V(OrderViewSet):
        serializer_class = Asking

    assert serve(V).get(f"/api/orders/{orders[0].pk}").json()["view"] == "retrieve"


def test_validation_knows_the_request(serve, orders) -> None:
    from order_svc.serializers import OrderInput

    class Strict(OrderInput):
        def validate(self, attrs: Any) -> Any:
            raise serializers.ValidationError(f"{self.context['request'].method} {self.initial_data['userId']}")

    class V(OrderViewSet):
        def get_serializer_class(self) -> Any:
            return Strict

    response = serve(V).post("/api/orders", {"userId": "4", "productId": "1", "quantity": 1})
    assert response.json()["errors"][0]["detail"] == "POST 4"


def test_an_annotation_can_be_answered(serve, orders) -> None:
    class Twice(OrderSerializer):
        twice = serializers.IntegerField()

    class V(OrderViewSet):
        queryset = Order.objects.annotate(twice=F("user_id") * 2)
        serializer_class = Twice

    api = serve(V)
    assert [row["twice"] for row in api.get("/api/orders").json()["results"]] == [6, 4, 2]
    assert api.get(f"/api/orders/{orders[1].pk}").json()["twice"] == 4


# Pages


class Numbered(pagination.PageNumberPagination):
    page_size = 2


def test_another_pagination_brings_its_parameters_and_its_form(serve, orders) -> None:
    api = serve(type("V", (OrderViewSet,), {"pagination_class": Numbered}))
    second = api.get("/api/orders?page=2&status=rejected").json()
    assert (second["count"], second["next"], len(second["results"])) == (3, None, 1)
    assert api.get("/api/orders?nonsense=2").status_code == 400


def test_without_pagination_a_list_is_a_list(serve, orders) -> None:
    api = serve(type("V", (OrderViewSet,), {"pagination_class": None}))
    assert {row["id"] for row in api.get("/api/orders").json()} == {str(order.pk) for order in orders}


def test_our_pagination_can_be_extended(serve, orders) -> None:
    from platform_core.api.pages import KeysetPagination

    class Counted(KeysetPagination):
        def get_paginated_response(self, data: Any) -> Response:
            response = super().get_paginated_response([{**row, "mine": True} for row in data])
            response.data["count"] = len(data)
            return response

    body = serve(type("V", (OrderViewSet,), {"pagination_class": Counted})).get("/api/orders?limit=2").json()
    assert body["count"] == 2
    assert all(row["mine"] for row in body["results"])
    assert body["next"]


@pytest.mark.parametrize("ordering", ["user_id", ["user_id"], ("user_id",)])
def test_an_ordering_of_the_view_is_kept_across_pages(serve, orders, ordering) -> None:
    api = serve(type("V", (OrderViewSet,), {"ordering": ordering}))
    first = api.get("/api/orders?limit=2").json()
    assert [row["userId"] for row in first["results"]] == ["1", "2"]
    assert [row["userId"] for row in api.get(first["next"]).json()["results"]] == ["3"]


# The course of a request


def test_initial_and_finalize_response_are_called(serve, orders) -> None:
    class V(OrderViewSet):
        def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
            super().initial(request, *args, **kwargs)
            self.seen = "initial"

        def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
            response = super().finalize_response(request, response, *args, **kwargs)
            response["X-Seen"] = self.seen
            return response

    assert serve(V).get("/api/orders")["X-Seen"] == "initial"


def test_default_response_headers_are_sent(serve, orders) -> None:
    class V(OrderViewSet):
        @property
        def default_response_headers(self) -> dict[str, str]:
            return {**super().default_response_headers, "X-Default": "1"}

    assert serve(V).get("/api/orders")["X-Default"] == "1"


@pytest.mark.parametrize("how", ["settings", "method"])
def test_the_exception_handler_is_called(serve, orders, settings, how) -> None:
    def handler(exc: Exception, context: Any) -> Response:
        return Response({"mine": type(exc).__name__}, status=418)

    class V(OrderViewSet):
        if how == "method":

            def get_exception_handler(self) -> Any:
                return handler

    if how == "settings":
        settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "EXCEPTION_HANDLER": handler}
    response = serve(V).get("/api/orders/999")
    assert (response.status_code, response.json()) == (418, {"mine": "NotFound"})


def test_handle_exception_may_be_replaced(serve, orders) -> None:
    class V(OrderViewSet):
        def handle_exception(self, exc: Exception) -> Any:
            return Response({"mine": 1}, status=418)

    assert serve(V).get("/api/orders?nonsense=1").status_code == 418


# Pages in HTML


BROWSER = {"Accept": "text/html"}


@pytest.fixture
def own_handler(settings):
    """A custom exception handler from the settings."""

    def handler(exc: Exception, context: Any) -> Response:
        return Response({"mine": type(exc).__name__}, status=418)

    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "EXCEPTION_HANDLER": handler}


@pytest.mark.parametrize(
    ("method", "route", "error"),
    [("post", "/api/docs", "MethodNotAllowed"), ("get", "/orders/999/explain", "NotFound")],
)
@pytest.mark.usefixtures("own_handler")
def test_the_exception_handler_is_called_for_pages(api, method, route, error) -> None:
    for accept in ("*/*", "application/json"):
        answer = getattr(api, method)(route, headers={"Accept": accept})
        assert (answer.status_code, answer.json()) == (418, {"mine": error})
    page = getattr(api, method)(route, headers=BROWSER)
    assert (page.status_code, page["Content-Type"]) == (418, "text/html; charset=utf-8")
    assert f"<p>{{&quot;mine&quot;:&quot;{error}&quot;}}</p>" in page.content.decode()


@pytest.mark.usefixtures("own_handler", "production")
def test_the_exception_handler_decides_about_a_browser_that_is_not_signed_in(api) -> None:
    assert api.get("/orders/999/explain", headers=BROWSER).status_code == 418


@pytest.mark.usefixtures("production")
def test_a_browser_without_a_token_is_redirected_to_the_sign_in(api) -> None:
    answer = api.get("/orders/999/explain", headers=BROWSER)
    assert (answer.status_code, answer["Location"]) == (302, "/admin/login/?next=%2Forders%2F999%2Fexplain")


def test_the_docs_have_the_hooks_of_drf(settings, api) -> None:
    def docs(**attributes: Any) -> None:
        view = DocsView.as_view(url_name="schema", **attributes)
        settings.ROOT_URLCONF = urlconf(path("docs", view), path("api/schema", SchemaView.as_view(), name="schema"))

    docs(content_negotiation_class=Last)
    assert api.get("/docs", headers=BROWSER).json()["script_url"] == "/docs?script="
    docs(metadata_class=metadata.SimpleMetadata)
    assert api.options("/docs", headers={"Accept": "*/*"}).json()["name"] == "Docs"
    docs(throttle_classes=[RefusesAll])
    assert api.get("/docs", headers={"Accept": "*/*"}).json()["code"] == "throttled"
    docs()
    assert api.options("/docs", headers={"Accept": "*/*"}).status_code == 204
