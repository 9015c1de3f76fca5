"""Notifications to customers and the state of their delivery."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower

from notification_svc.development.models import DevelopmentMail
from notification_svc.webhooks.models import WebhookDelivery, WebhookEndpoint, WebhookPosition
from platform_core.models import Resource
from platform_core.vocabulary import Channel, NotificationStatus

__all__ = ["DevelopmentMail", "Notification", "WebhookDelivery", "WebhookEndpoint", "WebhookPosition"]


class Notification(Resource):
    """One message. It keeps its sender's key for ever, so that even a late repetition is not sent twice."""

    Channel = Channel
    Status = NotificationStatus

    user_id = models.BigIntegerField()
    type = models.CharField(max_length=64)
    channel = models.CharField(max_length=16, choices=Channel.choices)
    recipient = models.CharField(max_length=254, blank=True, default="")
    """As the sender gave it; otherwise empty until the delivery, then where the message went."""
    subject = models.CharField(max_length=200, blank=True, default="")
    message = models.TextField()
    sealed = models.TextField(null=True, blank=True, editable=False)
    """The encrypted text of a confidential message, empty after its delivery; None for all other messages."""
    data = models.TextField(
        blank=True, default="", db_default="", help_text="A JSON object with values for the template of this type."
    )
    status = models.CharField(max_length=16, choices=NotificationStatus.choices, default=NotificationStatus.QUEUED)
    attempts = models.PositiveIntegerField(default=0)
    last_error = models.TextField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    erased_at = models.DateTimeField(
        null=True, blank=True, help_text="When the person was erased. The message has no content since then."
    )
    caller = models.CharField(max_length=200, blank=True, default="")
    sender_key = models.CharField(max_length=255, null=True, blank=True)
    fingerprint = models.BinaryField(max_length=32, null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("sender_key", "caller"),
                name="notification_once_per_key",
                condition=Q(sender_key__isnull=False),
            ),
            models.CheckConstraint(condition=Q(status__in=NotificationStatus.values), name="notification_status_known"),
        )
        indexes = (
            models.Index(fields=("user_id", "id"), name="notification_by_user"),
            models.Index(fields=("status", "id"), name="notification_by_status"),
            models.Index(fields=("type", "id"), name="notification_by_type"),
            models.Index(fields=("channel", "id"), name="notification_by_channel"),
            models.Index(fields=("created_at",), name="notification_by_time"),
            models.Index(Lower("recipient"), "id", name="notification_by_recipient"),
        )

    def __str__(self) -> str:
        return f"{self.type.replace('_', ' ')} to user {self.user_id}"
