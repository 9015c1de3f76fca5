"""Notifications for the search of the back office: by the key of their sender."""

from collections.abc import Iterator

from notification_svc.models import Notification
from platform_core.clients import Match
from platform_core.office import Sought, admin_page

MOST = 10


def find_notifications(sought: Sought) -> Iterator[Match]:
    """The messages that were sent with this Idempotency-Key. One index scan."""
    for each in Notification.objects.filter(sender_key=sought.text).order_by()[:MOST]:
        detail = f"{each.status}, by {each.caller}, {each.created_at:%Y-%m-%d %H:%M} UTC"
        yield Match("notification", f"Notification {each.pk}: {each.type}", detail, admin_page(each))
