"""Turns the events of the feeds into deliveries: one outbox message for each event and endpoint that wants it.

The messages are stored in the transaction that moves the position in the feed, so each event becomes a message once.
While no endpoint is enabled, the position is only kept near the end of the feed, so that the feed can delete events.
"""

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class _Read:
    """A page of a feed, and the position before it. ``is_listening``: an endpoint was enabled before it was read."""

    position: WebhookPosition
    is_listening: bool
    page: FeedPage


class Feeds:
    """Reads the feeds of ``sources``, so that none waits for another. Its threads do not use the database."""

    def __init__(self, sources: Sequence[str] = SOURCES) -> None:
        self._due_at = dict.fromkeys(sources, 0.0)
        self._reads: dict[str, Future[_Read]] = {}
        self._threads: ThreadPoolExecutor | None = None

    @property
    def is_reading(self) -> bool:
        """Whether a read was started whose page has not been taken in."""
        return bool(self._reads)

    def run(self, stopping: threading.Event) -> bool:
        """Start the reads that are due, and take in those that have ended. True if there is more to read now."""
        more = False
        for source, due_at in self._due_at.items():
            read = self._reads.get(source)
            if read is None:
                if time.monotonic() >= due_at and not stopping.is_set():
                    self._start(source)
            elif read.done():
                del self._reads[source]
                more = self._take_in(source, read) or more
        return more

    def finish(self) -> None:
        """Wait for the reads that run, each of which has a bound. They are read again by the next worker."""
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None
        self._reads.clear()

    def _start(self, source: str) -> None:
        self._due_at[source] = time.monotonic() + POLL_SECONDS
        position = _position(source)
        is_listening = enabled_endpoints().exists()
        if is_listening or not position.is_recent:  # type: ignore[attr-defined]
            if self._threads is None:
                self._threads = ThreadPoolExecutor(len(self._due_at), thread_name_prefix="webhook-feeds")
            self._reads[source] = self._threads.submit(_read, position, is_listening)

    def _take_in(self, source: str, future: Future[_Read]) -> bool:
        try:
            read = future.result()
        except PeerError as error:
            _note(source, error)
            self._due_at[source] = time.monotonic() + FAILED_SECONDS
            return False
        _note(source, None)
        if not read.is_listening:
            _skip(read.position, read.page.position)
            return False
        take_in(read.position, read.page)
        if len(read.page.events) < PAGE:
            return False
        self._due_at[source] = 0.0
        return True


def _position(source: str) -> WebhookPosition:
    """The position in a feed. ``is_recent``: it was moved lately."""
    rows = WebhookPosition.objects.annotate(is_recent=Q(read_at__gt=Now() - IDLE))
    found = rows.filter(pk=source).first()
    if found is None:
        WebhookPosition.objects.bulk_create([WebhookPosition(service=source)], ignore_conflicts=True)
        found = rows.get(pk=source)
    return found


def _read(position: WebhookPosition, is_listening: bool) -> _Read:
    with context.entered(context.Context(is_poll=True)):
        return _Read(position, is_listening, _page(position, PAGE if is_listening else 1))


def _page(position: WebhookPosition, limit: int) -> FeedPage:
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
        log.error("webhook.events_missed", extra={"data": {"peer": source, "after": after, "error": error.detail}})
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
        aggregate=f"{_resource(event.type)}:{event.subject}",
        key=f"webhook-{endpoint.pk}-{source}-{event.id}",
        payload={"source": source, "eventId": event.id, "type": event.type, "subject": event.subject, "body": text},
    )


def _resource(type: str) -> str:
    """The kind of resource, also of a type that only a later version knows."""
    try:
        return EventType(type).resource
    except ValueError:
        return type.partition(".")[0]


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
            log.info("webhook.feed_back", extra={"data": {"peer": source}})
    elif source not in _unreachable:
        _unreachable.add(source)
        log.warning("webhook.feed_unreachable", extra={"data": {"peer": source, "error": str(error)}})
