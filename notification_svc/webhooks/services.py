"""Use cases of webhooks."""

import logging
from datetime import timedelta
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from notification_svc.webhooks.models import DESTINATION, WebhookEndpoint
from notification_svc.webhooks.signing import new_secret, sealed
from platform_core.http import Conflict
from platform_core.models import write
from platform_core.outbox import OutboxMessage, hasten, redrive
from platform_core.vocabulary import MessageKind

SWITCHED_OFF: Final = "The webhook was disabled before this was delivered."
log = logging.getLogger("notification.webhooks")
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('notification-service:webhooks', 0))"


class Created(NamedTuple):
    endpoint: WebhookEndpoint
    secret: str


def destination_of(endpoint_id: int) -> str:
    """The outbox' destination of an endpoint."""
    return f"{DESTINATION}{endpoint_id}"


def endpoint_of(destination: str) -> int:
    """The id of the endpoint of a destination."""
    return int(destination.removeprefix(DESTINATION))


def deliveries_of(endpoint_id: int) -> QuerySet[OutboxMessage]:
    """The outbox messages of an endpoint."""
    kind = MessageKind.WEBHOOK_DELIVER.value
    return OutboxMessage.objects.filter(kind=kind, destination=destination_of(endpoint_id))


@transaction.atomic
def create_endpoint(**values: Any) -> Created:
    """Register an endpoint. Raises Conflict if there are `WebhookEndpoint.MOST` already."""
    with connection.cursor() as cursor:
        cursor.execute(_LOCK)
    if WebhookEndpoint.objects.count() >= WebhookEndpoint.MOST:
        raise Conflict(f"There are {WebhookEndpoint.MOST} webhooks already.", code="too_many_webhooks")
    secret = new_secret()
    endpoint = WebhookEndpoint.objects.create(secret=sealed(secret), **values)
    return Created(endpoint, secret)


@transaction.atomic
def update_endpoint(endpoint_id: int, expected: list[int] | None, **changes: Any) -> WebhookEndpoint:
    """Change an endpoint. One that is enabled again gets the events from now on.

    Raises PreconditionFailed, NotFound.
    """
    rows = WebhookEndpoint.objects.filter(pk=endpoint_id)
    was_enabled = rows.select_for_update().values_list("enabled", flat=True).first()
    if changes.get("enabled") and was_enabled is False:
        changes |= {"since": Now(), "failing_since": None, "disabled_reason": ""}
    write(rows, expected, **changes)
    if changes.get("enabled") is False:
        end_deliveries(endpoint_id)
    return rows.get()


@transaction.atomic
def replace_secret(endpoint_id: int) -> Created:
    """Give an endpoint a new secret. The old one is not used from now on. Raises NotFound."""
    secret = new_secret()
    rows = WebhookEndpoint.objects.filter(pk=endpoint_id)
    write(rows, None, secret=sealed(secret))
    return Created(rows.get(), secret)


@transaction.atomic
def delete_endpoint(endpoint_id: int, expected: list[int] | None) -> None:
    """Delete an endpoint, with what has not been delivered to it. Raises PreconditionFailed, NotFound."""
    rows = WebhookEndpoint.objects.filter(pk=endpoint_id)
    write(rows, expected, enabled=False)
    rows.delete()
    deliveries_of(endpoint_id).exclude(state=OutboxMessage.State.DELIVERED).delete()


def end_deliveries(endpoint_id: int) -> None:
    """Give up what waits for delivery to a disabled endpoint. Each can be retried later."""
    waiting = deliveries_of(endpoint_id).filter(state=OutboxMessage.State.PENDING)
    waiting.update(state=OutboxMessage.State.DEAD, last_error=SWITCHED_OFF, lease=None, leased_until=None)


@transaction.atomic
def retry(endpoint_id: int, delivery_id: int) -> OutboxMessage:
    """Deliver a dead or delivered message again, or a waiting one now. Its id stays the same.

    Raises DoesNotExist, and Conflict if the endpoint is disabled.
    """
    rows = deliveries_of(endpoint_id).filter(pk=delivery_id)
    rows.get()
    if not WebhookEndpoint.objects.select_for_update().filter(pk=endpoint_id, enabled=True).exists():
        raise Conflict("The webhook is disabled: enable it first.", code="webhook_disabled")
    delivered = rows.filter(state=OutboxMessage.State.DELIVERED)
    if not delivered.update(state=OutboxMessage.State.PENDING, attempts=0, available_at=Now(), delivered_at=None):
        redrive(rows)
        hasten(rows)
    return rows.get()


def note_success(endpoint_id: int) -> None:
    """An endpoint has taken a delivery. Runs, like `note_failure`, in the transaction that stores the outcome.

    Neither waits for a lock of the endpoint, because a request that disables or deletes it waits for the messages.
    """
    failing = WebhookEndpoint.objects.filter(pk=endpoint_id, failing_since__isnull=False)
    for endpoint in failing.select_for_update(skip_locked=True):
        _change(endpoint, failing_since=None)


def note_failure(endpoint_id: int) -> None:
    """A delivery to an endpoint has failed. If all have for ``WEBHOOK_FAILING_DAYS``, the endpoint is disabled."""
    endpoints = WebhookEndpoint.objects.filter(pk=endpoint_id, enabled=True)
    limit = timedelta(days=settings.WEBHOOK_FAILING_DAYS)
    overdue = Q(failing_since__lt=Now() - limit)
    for endpoint in endpoints.select_for_update(skip_locked=True).annotate(is_overdue=overdue):
        if endpoint.failing_since is None:
            _change(endpoint, failing_since=Now())
        elif endpoint.is_overdue:
            reason = f"All deliveries since {endpoint.failing_since:%Y-%m-%dT%H:%M:%SZ} have failed."
            _change(endpoint, enabled=False, disabled_reason=reason)
            end_deliveries(endpoint_id)
            log.warning("webhook.disabled", extra={"data": {"webhook": str(endpoint_id), "reason": reason}})


def _change(endpoint: WebhookEndpoint, **changes: Any) -> None:
    changes |= {"version": F("version") + 1, "updated_at": Now()}
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(**changes)


def enabled_endpoints() -> QuerySet[WebhookEndpoint]:
    """The endpoints that get deliveries, oldest first."""
    return WebhookEndpoint.objects.filter(enabled=True).order_by("pk")
