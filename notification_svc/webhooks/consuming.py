"""Turns the events of the feeds into deliveries: one outbox message for each event and endpoint that wants it.

The messages are stored in the transaction that moves the position in the feed, so each event becomes a message once.
While no endpoint is enabled, the position is only kept near the end of the feed, so that the feed can delete events.
"""

import logging
import threading
from collections.abc import Iterable
from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from notification_svc.webhooks.models import WebhookEndpoint, WebhookPosition
from notification_svc.webhooks.services import destination_of, enabled_endpoints
from platform_core.clients import Event, FeedPage, PeerError, PeerRefused, has_expired, read_feed, read_kept_feed
from platform_core.http import context
from platform_core.outbox import Message, OutboxMessage, enqueue
from platform_core.topology import NOTIFICATION, ORDER, PRODUCT, USER
from platform_core.vocabulary import EventType, MessageKind

SOURCES = tuple(service.name for service in (USER, PRODUCT, ORDER, NOTIFICATION))
"""The services whose events are delivered."""
PAGE = 200
"""How many events one transaction takes. Each may become a message for each endpoint."""
POLL_SECONDS = 1.0
IDLE = timedelta(seconds=60)
"""How often the position is moved while no endpoint is enabled."""
FAILED_SECONDS = 5.0
"""The pause after a feed could not be read."""
log = logging.getLogger("notification.webhooks")
_unreachable: set[str] = set()
"""The sources whose failure has been logged, so that each outage is logged once."""


def consume(source: str, stopping: threading.Event) -> bool:
    """Read one page of the feed of ``source``. True if there is more to read. A round of a duty."""
    WebhookPosition.objects.bulk_create([WebhookPosition(service=source)], ignore_conflicts=True)
    recent = Q(read_at__gt=Now() - IDLE)
    position = WebhookPosition.objects.alias(is_recent=recent).annotate(is_recent=recent).get(pk=source)
    is_listening = enabled_endpoints().exists()
    if not is_listening and position.is_recent:
        return False
    try:
        with context.entered(context.Context(is_poll=True)):
            page = _read(position, PAGE if is_listening else 1)
    except PeerError as error:
        _note(source, error)
        stopping.wait(FAILED_SECONDS)
        return False
    _note(source, None)
    if not is_listening:
        _skip(position, page.position)
        return False
    take_in(position, page)
    return len(page.events) == PAGE


def _read(position: WebhookPosition, limit: int) -> FeedPage:
    """The events after the position; the oldest that are kept, if the feed was never read or has deleted some.

    After a loss of the feed's history nothing is read again: the page has only the feed's end.
    """
    source, after = position.service, position.last_event_id
    if not after:
        return read_kept_feed(source, limit, texts=True)
    try:
        return read_feed(source, after, limit, texts=True)
    except PeerRefused as error:
        if not has_expired(error):
            raise
        log.error("webhook.events_missed", extra={"data": {"service": source, "after": after, "error": error.detail}})
        if error.code == "events_expired":
            return read_kept_feed(source, limit, texts=True)
        return FeedPage([], pending=False, position=read_kept_feed(source, 1).position)


@transaction.atomic
def take_in(position: WebhookPosition, page: FeedPage) -> None:
    """Store the page's deliveries and move the position. Does nothing if another worker has moved it."""
    last = page.events[-1].id if page.events else page.position
    if not page.events and position.last_event_id and not _is_before(last, position.last_event_id):
        return  # nothing new
    if not _move(position, last):
        return
    # Locked, so that nobody disables or deletes an endpoint while it gets messages.
    endpoints = list(enabled_endpoints().select_for_update())
    messages = [
        _message(endpoint, position.service, event, text)
        for event, text in zip(page.events, page.texts, strict=True)
        for endpoint in endpoints
        if event.type in endpoint.events and event.time >= endpoint.since
    ]
    enqueue(*_without_known(messages))


def _is_before(end: str, position: str) -> bool:
    """Whether a feed ends before ``position``, because its history was lost."""
    return [int(part) for part in end.split("-")] < [int(part) for part in position.split("-")]


def _skip(position: WebhookPosition, end: str) -> None:
    """Move the position to the end of the feed, unless an endpoint was enabled meanwhile, which may want the events."""
    if end and not enabled_endpoints().exists():
        _move(position, end)


def _move(position: WebhookPosition, last_event_id: str) -> bool:
    rows = WebhookPosition.objects.filter(pk=position.pk, last_event_id=position.last_event_id)
    return bool(rows.update(last_event_id=last_event_id, read_at=Now()))


def _message(endpoint: WebhookEndpoint, source: str, event: Event, text: str) -> Message:
    return Message(
        kind=MessageKind.WEBHOOK_DELIVER,
        destination=destination_of(endpoint.pk),
        aggregate=f"{EventType(event.type).resource}:{event.subject}",
        key=f"webhook-{endpoint.pk}-{source}-{event.id}",
        payload={"source": source, "eventId": event.id, "type": event.type, "subject": event.subject, "body": text},
    )


def _without_known(messages: list[Message]) -> Iterable[Message]:
    """Leaves out what has a message already. A key that is stored twice would hold up the feed for ever."""
    keys = [message.key for message in messages]
    known = set(OutboxMessage.objects.filter(key__in=keys).values_list("key", flat=True)) if keys else set()
    return (message for message in messages if message.key not in known)


def _note(source: str, error: PeerError | None) -> None:
    """Log that a feed cannot be read, or that it can be read again."""
    if error is None:
        if source in _unreachable:
            _unreachable.discard(source)
            log.info("webhook.feed_back", extra={"data": {"service": source}})
    elif source not in _unreachable:
        _unreachable.add(source)
        log.warning("webhook.feed_unreachable", extra={"data": {"service": source, "error": str(error)}})
