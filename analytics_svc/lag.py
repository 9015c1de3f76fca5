"""How old the figures are, for `/metrics`. It comes from the stored positions, so all webs report the same."""

from collections.abc import Iterator

from django.db.models import DurationField, ExpressionWrapper, F
from django.db.models.functions import Now
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from analytics_svc.models import FeedPosition


def feed_lags() -> Iterator[Metric]:
    """One sample for each feed that was read to its end at least once. One query."""
    lags = GaugeMetricFamily(
        "feed_lag_seconds", "Time since the figures of a service were complete.", labels=["service"]
    )
    read = FeedPosition.objects.filter(live=True, caught_up_at__isnull=False)
    age = ExpressionWrapper(Now() - F("caught_up_at"), output_field=DurationField())
    for service, lag in read.values_list("service", age):
        lags.add_metric([service], max(0.0, lag.total_seconds()))
    yield lags
