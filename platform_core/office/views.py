"""The routes behind the bar: the search, as a page and for the other services, and the state of the services."""

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from platform_core.api.html_pages import PageViewSet
from platform_core.api.queries import AnyOf, Query, TextField, TrueField, read_query
from platform_core.http.links import link
from platform_core.office.finding import MOST_CHARACTERS, find_here
from platform_core.office.search import search
from platform_core.office.services_health import STATUSES, current_states
from platform_core.office.viewer import viewer_of
from platform_core.topology import ORDER, PRODUCT, SERVICES, USER
from platform_core.vocabulary import Role

_LISTS = (
    ("orders", ORDER, "/admin/order_svc/order/"),
    ("products", PRODUCT, "/admin/product_svc/product/"),
    ("customers", USER, "/admin/user_svc/user/"),
)
"""The lists of the admins that are searched by names."""
TAG = "back-office"
"""The group of the routes in the OpenAPI document."""


class FindQuery(Query):
    """The query parameters of the search in one service."""

    q = TextField(max_length=MOST_CHARACTERS, help_text="Compared exactly, except for the case of emails.")
    role = AnyOf(
        serializers.ChoiceField(choices=[role.value for role in Role]),
        help_text="The roles of the person who looks. Without a role nothing is found.",
    )


class MatchSerializer(serializers.Serializer[Any]):
    """Something that was found."""

    kind = serializers.CharField(help_text="Such as `order` or `idempotency key`.")
    title = serializers.CharField()
    detail = serializers.CharField()
    path = serializers.CharField(help_text="The path of its page at this service.")
    isRecord = serializers.BooleanField(help_text="It only says what happened to something else.")


class MatchesSerializer(serializers.Serializer[Any]):
    """What a service has found."""

    results = MatchSerializer(many=True)


class FindView(APIView):
    """The search in this service, for the bars of all services."""

    @extend_schema(operation_id="findMatches", tags=[TAG], parameters=[FindQuery], responses=MatchesSerializer)
    def get(self, request: Request) -> Response:
        """What this service has by exactly this text: a number, an email, a sku, a request id or an Idempotency-Key.

        For the other services, which say what roles the person has who looks.
        """
        query = read_query(request, FindQuery)
        roles = frozenset(Role(name) for name in query.get("role", ()))
        return Response({"results": [_shown(match) for match in find_here(query["q"], roles)]})


def _shown(match: Any) -> dict[str, Any]:
    return {
        "kind": match.kind,
        "title": match.title,
        "detail": match.detail,
        "path": match.path,
        "isRecord": match.is_record,
    }


class FindPageQuery(Query):
    """The query parameters of the search's page."""

    q = TextField(max_length=MOST_CHARACTERS, default="", allow_blank=True)
    list = TrueField(required=False)


class FindPage(PageViewSet):
    """Finds something in all services and leads there, or lists what was found."""

    template_name = "office/find.html"

    def show(self, request: Request) -> Response:
        """Redirects a browser to the one thing that was found, unless ``list=true`` asks for the list."""
        query = read_query(request, FindPageQuery)
        outcome = search(query["q"], viewer_of(request))
        only = outcome.only
        if only is not None and self.wants_page() and not query.get("list"):
            return Response(status=302, headers={"Location": link(only[0], only[1].path, request)})
        return Response(
            {
                "query": query["q"],
                "results": [
                    {**_shown(match), "service": service.name, "url": link(service, match.path, request)}
                    for service, match in outcome.found
                ],
                "asked": [service.name for service in outcome.asked],
                "unanswered": [service.name for service in outcome.unanswered],
            }
        )

    def page_context(self, request: Request) -> dict[str, Any]:
        """Names the service, tells a local account that it sees this service alone, and leads to lists by name."""
        viewer = viewer_of(request)
        words = urlencode({"q": request.query_params.get("q", "")})
        lists = [
            (title, link(service, f"{path}?{words}", request))
            for title, service, path in _LISTS
            if service in viewer.services
        ]
        return {"service_name": settings.SERVICE_NAME, "is_local": viewer.is_local, "lists": lists}


class ServiceStateSerializer(serializers.Serializer[Any]):
    """The state of a service."""

    service = serializers.CharField()
    status = serializers.ChoiceField(choices=STATUSES)


class ServiceStatesSerializer(serializers.Serializer[Any]):
    """The states of all services."""

    services = ServiceStateSerializer(many=True)


class ServicesView(APIView):
    """The state of the services, as this one sees them."""

    may_be_polled = True

    @extend_schema(operation_id="listServiceStates", tags=[TAG], responses=ServiceStatesSerializer)
    def get(self, request: Request) -> Response:
        """The state of the services, as this one sees them now or has seen them within the last ten seconds."""
        read_query(request, Query)
        states = current_states()
        return Response({"services": [{"service": s.name, "status": states[s.name]} for s in SERVICES]})
