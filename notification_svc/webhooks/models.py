"""Webhook endpoints, and the positions up to which the feeds have been read for them."""

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from platform_core.models import Resource
from platform_core.outbox import OutboxMessage
from platform_core.vocabulary import MessageKind

DESTINATION = "webhook:"
"""What the outbox' destinations of endpoints begin with. The endpoint's id follows."""


class _Deliveries(models.Manager["WebhookDelivery"]):
    def get_queryset(self) -> models.QuerySet["WebhookDelivery"]:
        return super().get_queryset().filter(kind=MessageKind.WEBHOOK_DELIVER.value)


class WebhookEndpoint(Resource):
    """An address to which the events of some types are delivered.

    ``secret`` is encrypted. ``since``: only events from this time on are delivered, by Postgres' clock.
    ``failing_since`` is the first failure after the last success; None if the last delivery succeeded.
    """

    MOST: ClassVar[int] = 20
    """The maximum number of endpoints."""

    url = models.CharField(max_length=2048)
    events = models.JSONField(help_text="The types of the events to deliver.")
    enabled = models.BooleanField(default=True)
    secret = models.TextField(editable=False)
    since = models.DateTimeField(db_default=Now(), editable=False)
    failing_since = models.DateTimeField(null=True, blank=True)
    disabled_reason = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"webhook {self.pk}"


class WebhookDelivery(OutboxMessage):
    """The outbox message that delivers one event to one endpoint, as the admin lists it."""

    class Meta:
        proxy = True
        ordering = ("-id",)
        verbose_name_plural = "webhook deliveries"

    objects: ClassVar[_Deliveries] = _Deliveries()

    def __str__(self) -> str:
        return f"delivery {self.pk}"

    @property
    def endpoint_id(self) -> int:
        """The id of the endpoint, which may have been deleted."""
        return int(self.destination.removeprefix(DESTINATION))


class WebhookPosition(models.Model):
    """The position up to which a service's events have become deliveries. Empty before the feed was read first.

    It moves in the transaction that stores the deliveries.
    """

    service = models.CharField(max_length=64, primary_key=True)
    last_event_id = models.CharField(max_length=64, blank=True, default="")
    read_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("service",)

    def __str__(self) -> str:
        return self.service
