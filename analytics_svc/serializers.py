"""The wire shape of analytics-service."""

from typing import Any

from rest_framework import serializers

from analytics_svc.platform_status import LAGS, STATUSES
from platform_core.api import IdField, MoneyField, Query, WholeField


class DaysQuery(Query):
    days = WholeField(default=30, min_value=1, max_value=366, help_text="Length of the daily series.")


class SummaryQuery(Query):
    days = WholeField(required=False, min_value=1, max_value=366, help_text="Has no effect here.")


class Report(serializers.Serializer[Any]):
    asOf = serializers.DateTimeField(help_text="All changes that were committed before this time are counted.")
    stale = serializers.ListField(child=serializers.CharField(), help_text="Services that did not answer in time.")
    currency = serializers.CharField(help_text="Of all amounts, as in ISO 4217.")
    timeZone = serializers.CharField(help_text="Where the days of the figures begin and end, such as `Europe/Berlin`.")


class UserHeadline(serializers.Serializer[Any]):
    total = serializers.IntegerField()
    newToday = serializers.IntegerField()


class ProductHeadline(serializers.Serializer[Any]):
    total = serializers.IntegerField()
    outOfStock = serializers.IntegerField()
    stockUnits = serializers.IntegerField()
    stockValue = MoneyField()


class OrderHeadline(serializers.Serializer[Any]):
    total = serializers.IntegerField()
    byStatus = serializers.DictField(child=serializers.IntegerField())
    revenue = MoneyField()
    averageOrderValue = MoneyField()


class NotificationHeadline(serializers.Serializer[Any]):
    total = serializers.IntegerField()
    byStatus = serializers.DictField(child=serializers.IntegerField())


class SummarySerializer(Report):
    users = UserHeadline()
    products = ProductHeadline()
    orders = OrderHeadline()
    notifications = NotificationHeadline()


class UserDay(serializers.Serializer[Any]):
    date = serializers.DateField()
    count = serializers.IntegerField()


class UserReport(UserHeadline, Report):
    byDay = UserDay(many=True)


class LowStock(serializers.Serializer[Any]):
    productId = IdField()
    name = serializers.CharField()
    stock = serializers.IntegerField()


class TopSeller(serializers.Serializer[Any]):
    productId = IdField()
    name = serializers.CharField()
    units = serializers.IntegerField()
    revenue = MoneyField()


class ProductReport(ProductHeadline, Report):
    lowStock = LowStock(many=True)
    topSellers = TopSeller(many=True)


class OrderDay(serializers.Serializer[Any]):
    date = serializers.DateField()
    orders = serializers.IntegerField()
    revenue = MoneyField()


class OrderReport(OrderHeadline, Report):
    byDay = OrderDay(many=True)


class OutboxDepth(serializers.Serializer[Any]):
    pending = serializers.IntegerField(help_text="Waiting messages, counted up to 1000.")
    oldestSeconds = serializers.FloatField(allow_null=True, help_text="Age of the oldest waiting message in seconds.")
    dead = serializers.IntegerField(help_text="Messages whose delivery has finally failed, counted up to 1000.")


class FeedLag(serializers.Serializer[Any]):
    status = serializers.ChoiceField(
        choices=LAGS,
        help_text="`behind`: some events are not in the figures yet; the next report reads them. "
        "`pending`: some events are committed but not visible in the feed yet.",
    )
    seconds = serializers.FloatField(
        allow_null=True, help_text="Age of the oldest event that is not in the figures. Null if unknown."
    )
    caughtUpAt = serializers.DateTimeField(allow_null=True, help_text="When a report last read the feed to its end.")


class ServiceStatus(serializers.Serializer[Any]):
    service = serializers.CharField()
    status = serializers.ChoiceField(choices=STATUSES, help_text="`unknown`: there was no time for the check.")
    latencyMs = serializers.FloatField(allow_null=True, help_text="Duration of the call of `/health`.")
    version = serializers.CharField(allow_null=True)
    mode = serializers.CharField(allow_null=True)
    outbox = OutboxDepth(allow_null=True)
    feedLag = FeedLag(allow_null=True)


class PlatformStatus(serializers.Serializer[Any]):
    asOf = serializers.DateTimeField()
    services = ServiceStatus(many=True)
    overdueOrders = serializers.IntegerField(
        allow_null=True,
        help_text="Orders that stay pending, counted by order-service now, up to 100. Null if it did not answer.",
    )


class NotificationDay(serializers.Serializer[Any]):
    date = serializers.DateField()
    sent = serializers.IntegerField()
    failed = serializers.IntegerField()


class NotificationReport(NotificationHeadline, Report):
    byDay = NotificationDay(many=True)
