"""Delivers events to webhooks again, one or, as a job, many."""

from notification_svc.webhooks.models import WebhookDelivery, WebhookEndpoint
from notification_svc.webhooks.services import destination_of, retry
from platform_core.http import NotFound
from platform_core.jobs import Job, JobItem, Kind, each_item, log_change

REDELIVER = "webhook.redeliver"


def redeliver(delivery_id: int) -> WebhookDelivery:
    """Deliver again what was given up or delivered, and now what waits.

    Raises NotFound, and Conflict if the webhook is disabled or deleted.
    """
    delivery = WebhookDelivery.objects.filter(pk=delivery_id).first()
    if delivery is None:
        raise NotFound("There is no such delivery any more.")
    retry(delivery.endpoint_id, delivery_id)
    delivery.refresh_from_db()
    return delivery


def _process(job: Job, delivery_id: int) -> bool:
    log_change(job, redeliver(delivery_id), "Delivered again.")
    return True


def question(job: Job) -> str:
    """Says how many events will be sent, and to how many webhooks."""
    rows = WebhookDelivery.objects.filter(pk__in=JobItem.objects.filter(job=job).values("key"))
    enabled = [destination_of(pk) for pk in WebhookEndpoint.objects.filter(enabled=True).values_list("pk", flat=True)]
    sent = rows.filter(destination__in=enabled)
    count, refused = sent.count(), (job.total or 0) - sent.count()
    again = sent.filter(state=WebhookDelivery.State.DELIVERED).count()
    parts = [f"{count:,} event{'' if count == 1 else 's'} will be delivered again."]
    if again:
        parts.append(f"{again:,} of them {'was' if again == 1 else 'were'} accepted before, with the same webhook-id.")
    if refused:
        parts.append(f"{refused:,} will be refused: the webhook is disabled or deleted.")
    return "\n".join(parts)


KIND = Kind(
    REDELIVER,
    "Deliver the events again",
    "notification_svc.change_webhookdelivery",
    each_item(_process),
    question,
    row="delivery",
    row_page="admin:notification_svc_webhookdelivery_change",
)
