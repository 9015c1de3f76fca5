"""notification-service, as its peers see it."""

from platform_core.clients.engine import call
from platform_core.topology import NOTIFICATION

PEER = NOTIFICATION.name


def send_notification(key: str, *, user_id: int, type: str, subject: str, message: str) -> None:
    """Hand over a message for the user's email address. With the same ``key`` it is taken once.

    Raises PeerRefused, PeerUnreachable.
    """
    body = {"userId": str(user_id), "type": type, "subject": subject, "message": message}
    call(PEER, "POST", "/api/notifications/send", body=body, key=key, expect=201)
