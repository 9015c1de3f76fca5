"""The outbox: messages to other services, written in the transaction of the change that causes them."""

from datetime import datetime

from django.db import models
from django.db.models import Q
from django.utils.timezone import now

from platform_core.outbox.depth import REFUSED
from platform_core.vocabulary import MessageKind


class OutboxMessage(models.Model):
    """A message to a ``destination``. ``kind`` selects its handler.

    Messages of one ``aggregate`` to one ``destination`` are delivered in order. A worker claims a message with a lease
    that it commits before the call.
    """

    lease_expired = False
    """Set by a claim: the attempt before has ended without an outcome."""

    class State(models.TextChoices):
        """`dead`: given up, until an operator redrives it."""

        PENDING = "pending"
        DELIVERED = "delivered"
        DEAD = "dead"

    kind = models.CharField(max_length=64)
    destination = models.CharField(max_length=64)
    aggregate = models.CharField(max_length=64)
    key = models.CharField(max_length=255, unique=True)
    payload = models.JSONField()
    state = models.CharField(max_length=16, choices=State.choices, default=State.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    available_at = models.DateTimeField(default=now)
    lease = models.UUIDField(null=True, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)
    last_error = models.TextField(blank=True, default="")
    request_id = models.CharField(max_length=128)
    traceparent = models.CharField(max_length=64)
    user = models.CharField(
        max_length=20,
        blank=True,
        default="",
        db_default="",
        help_text="The id of the user on whose behalf it is sent",
    )
    created_at = models.DateTimeField(default=now)
    delivered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(
                fields=("destination", "available_at"), name="outbox_fresh", condition=Q(state="pending", attempts=0)
            ),
            models.Index(
                fields=("destination", "available_at"),
                name="outbox_again",
                condition=Q(state="pending", attempts__gt=0),
            ),
            models.Index(
                fields=("aggregate", "destination", "id"), name="outbox_in_order", condition=Q(state="pending")
            ),
            models.Index(fields=("aggregate",), name="outbox_by_aggregate"),
            models.Index(fields=("request_id",), name="outbox_by_request"),
            models.Index(fields=("state", "id"), name="outbox_unsettled", condition=Q(state__in=["pending", "dead"])),
            models.Index(
                fields=("state", "id"),
                name="outbox_without_webhooks",
                condition=Q(state__in=["pending", "dead"]) & ~Q(kind=MessageKind.WEBHOOK_DELIVER.value),
            ),
            models.Index(fields=("delivered_at",), name="outbox_delivered", condition=Q(state="delivered")),
            models.Index(
                fields=("destination", "id"),
                name="outbox_webhooks",
                condition=Q(kind=MessageKind.WEBHOOK_DELIVER.value),
            ),
            models.Index(
                fields=("id",),
                name="outbox_newest_webhooks",
                condition=Q(kind=MessageKind.WEBHOOK_DELIVER.value),
            ),
            models.Index(
                fields=("id",),
                name="outbox_caller_refused",
                condition=Q(state="pending", last_error__startswith=REFUSED),
            ),
        )
        constraints = (
            models.CheckConstraint(condition=Q(state__in=["pending", "delivered", "dead"]), name="outbox_state_known"),
        )

    def __str__(self) -> str:
        return self.key

    @property
    def next_attempt_at(self) -> datetime | None:
        """When the message is tried next; None if it will not be."""
        return self.available_at if self.state == self.State.PENDING else None
