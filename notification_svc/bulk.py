"""Resends many notifications, as a job."""

from notification_svc import services
from notification_svc.models import Notification
from platform_core.http import Conflict, NotFound
from platform_core.jobs import Job, JobItem, Kind, each_item, log_change
from platform_core.vocabulary import NotificationStatus

RESEND = "notification.resend"


def resend(job: Job, notification_id: int) -> bool:
    """Resends one failed notification. Raises NotFound, Conflict."""
    notification = Notification.objects.filter(pk=notification_id).first()
    if notification is None:
        raise NotFound("There is no such notification.")
    if not services.retry(Notification.objects.filter(pk=notification_id)):
        if notification.status != NotificationStatus.FAILED:
            raise Conflict(f"It is {notification.status}; only failed notifications are resent.")
        raise Conflict("Its text has been erased.")
    log_change(job, notification, "Resent.")
    return True


def question(job: Job) -> str:
    """Says how many notifications will be sent."""
    rows = Notification.objects.filter(pk__in=JobItem.objects.filter(job=job).values("key"))
    failed = rows.filter(status=NotificationStatus.FAILED, sealed=None, erased_at=None).count()
    text = f"{failed:,} failed notification{'' if failed == 1 else 's'} will be sent again."
    others = (job.total or 0) - failed
    return text if not others else f"{text}\n{others:,} cannot be resent and will be refused."


KINDS = (
    Kind(
        RESEND,
        "Resend failed notifications",
        "notification_svc.change_notification",
        each_item(resend),
        question,
        row="notification",
        row_page="admin:notification_svc_notification_change",
    ),
)
