"""Delivers the outbox messages of webhooks."""

import time
from collections.abc import Iterable

from notification_svc.webhooks.models import WebhookEndpoint
from notification_svc.webhooks.posting import post
from notification_svc.webhooks.services import (
    destination_of,
    enabled_endpoints,
    endpoint_of,
    note_failure,
    note_success,
)
from notification_svc.webhooks.signing import signed_headers, unsealed
from platform_core.outbox import Handler, ManyLanes, OutboxMessage, PermanentFailure
from platform_core.vocabulary import MessageKind

MAX_ATTEMPTS, MAX_DELAY = 38, 4 * 3600.0
"""About three days of attempts: soon after the first failure, later every two to four hours."""
TARGET = "target"
"""What `prepare` adds to a message's payload for `deliver`: the URL and the secret. It is not saved."""


def destinations() -> Iterable[str]:
    """The outbox' destinations of the enabled endpoints."""
    return [destination_of(pk) for pk in enabled_endpoints().values_list("pk", flat=True)]


def prepare(message: OutboxMessage) -> None:
    """Read the URL and the secret. Raises PermanentFailure if the endpoint is gone, BrokenSeal."""
    endpoint = WebhookEndpoint.objects.filter(pk=endpoint_of(message.destination)).first()
    if endpoint is None:
        raise PermanentFailure("The webhook was deleted.")
    message.payload[TARGET] = endpoint.url, unsealed(endpoint.secret)


def deliver(message: OutboxMessage) -> None:
    """Send the event, signed, without the database. Raises as `post` does."""
    url, secret = message.payload.pop(TARGET)
    body = message.payload["body"].encode()
    post(url, body, signed_headers(secret, message.key, int(time.time()), body))


def _delivered(message: OutboxMessage) -> None:
    note_success(endpoint_of(message.destination))


def _failed(message: OutboxMessage, error: str, dead: bool) -> None:
    note_failure(endpoint_of(message.destination))


HANDLER = Handler(deliver, max_attempts=MAX_ATTEMPTS, max_delay=MAX_DELAY, on_delivered=_delivered, on_failure=_failed)


def new_lanes() -> ManyLanes:
    """The deliveries to all enabled endpoints, for one duty."""
    return ManyLanes(destinations, {MessageKind.WEBHOOK_DELIVER: HANDLER}, prepare, most=WebhookEndpoint.MOST)
