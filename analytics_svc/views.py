"""The API of analytics-service."""

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from analytics_svc import platform_status, reports
from analytics_svc.serializers import (
    DaysQuery,
    NotificationReport,
    OrderReport,
    PlatformStatus,
    ProductReport,
    SummaryQuery,
    SummarySerializer,
    UserReport,
)
from platform_core.api import Query, read_query


class AnalyticsViewSet(ViewSet):
    """Figures of all services. They include every change that was committed before the request."""

    may_be_polled = True

    @extend_schema(parameters=[SummaryQuery], responses=SummarySerializer)
    @action(detail=False)
    def summary(self, request: Request) -> Response:
        """The headlines of all reports."""
        read_query(request, SummaryQuery)
        return Response(reports.summary())

    @extend_schema(parameters=[DaysQuery], responses=UserReport)
    @action(detail=False)
    def users(self, request: Request) -> Response:
        """Users, and new users per day."""
        return Response(reports.users(**read_query(request, DaysQuery)))

    @extend_schema(parameters=[DaysQuery], responses=ProductReport)
    @action(detail=False)
    def products(self, request: Request) -> Response:
        """Products, stock, low stock and top sellers."""
        return Response(reports.products(**read_query(request, DaysQuery)))

    @extend_schema(parameters=[DaysQuery], responses=OrderReport)
    @action(detail=False)
    def orders(self, request: Request) -> Response:
        """Orders by status and day, and revenue."""
        return Response(reports.orders(**read_query(request, DaysQuery)))

    @extend_schema(parameters=[DaysQuery], responses=NotificationReport)
    @action(detail=False)
    def notifications(self, request: Request) -> Response:
        """Notifications, sent and failed."""
        return Response(reports.notifications(**read_query(request, DaysQuery)))

    @extend_schema(responses=PlatformStatus)
    @action(detail=False)
    def platform(self, request: Request) -> Response:
        """Status of the five services, with the depths of their outboxes and the lag of the figures.

        A service that does not answer within a second is `down`.
        """
        read_query(request, Query)
        return Response(platform_status.platform())
