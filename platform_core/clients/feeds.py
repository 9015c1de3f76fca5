"""Client of the services' event feeds, and of their lists for data whose events have been deleted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from django.conf import settings

from platform_core.clients.engine import UNREADABLE, call
from platform_core.clients.errors import PeerFailed, PeerRefused

MEDIA_TYPE = "application/cloudevents-batch+json"


class Event(msgspec.Struct, frozen=True):
    """A CloudEvent. ``data`` is its JSON as the service wrote it, which is decoded by who knows its shape."""

    id: str
    type: str
    subject: str
    time: datetime
    data: msgspec.Raw


@dataclass(frozen=True, slots=True)
class FeedPage:
    """``pending``: committed events lie above the horizon, ask again. ``position``: the horizon, as an event id.

    ``texts`` are the events as the service wrote them, in JSON.
    """

    events: list[Event]
    pending: bool
    position: str = ""
    texts: Sequence[str] = ()


class ListPage(msgspec.Struct, frozen=True):
    """``next`` is the cursor of the following page; None on the last one."""

    results: list[dict[str, Any]]
    next: str | None


BEGINNING = "0-0-0"
_decode = msgspec.json.Decoder(list[Event]).decode
_decode_texts = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_list = msgspec.json.Decoder(ListPage, float_hook=Decimal).decode


def read_feed(
    peer: str, last_event_id: str, limit: int = 1000, *, texts: bool = False, acknowledging: bool = True
) -> FeedPage:
    """The events after ``last_event_id`` (empty: from the beginning).

    With ``acknowledging``, it acknowledges the events up to that id. Without, the feed keeps them, so that a consumer
    can read ahead of what it has stored. With ``texts`` the page has the events' JSON, too. Raises PeerUnreachable, and
    PeerRefused; see `has_expired` for events that have been deleted.
    """
    params = {"limit": limit, "lastEventId": last_event_id or BEGINNING}
    return _page(peer, params, texts=texts, acknowledging=acknowledging)


def read_kept_feed(peer: str, limit: int = 1000, *, texts: bool = False) -> FeedPage:
    """The oldest events that have not been deleted. Acknowledges nothing. Raises PeerRefused, PeerUnreachable."""
    return _page(peer, {"limit": limit}, texts=texts)


def has_expired(error: Exception) -> bool:
    """Whether the error of `read_feed` is a 410: the feed has deleted events after the id, or lost the event itself."""
    return isinstance(error, PeerRefused) and error.code in ("events_expired", "events_lost")


def _page(peer: str, params: dict[str, Any], *, texts: bool, acknowledging: bool = True) -> FeedPage:
    headers = {"Feed-Consumer": settings.SERVICE.name} if acknowledging else {}
    answer = call(peer, "GET", "/api/events", params=params, accept=MEDIA_TYPE, headers=headers)
    try:
        events = _decode(answer.content)
        raw = [bytes(text).decode() for text in _decode_texts(answer.content)] if texts else []
    except UNREADABLE as error:
        raise PeerFailed(peer, f"served a feed that cannot be read: {error}", answer.status) from None
    pending = answer.headers.get("Feed-Pending") == "true"
    return FeedPage(events, pending, answer.headers.get("Feed-Position", ""), raw)


def read_list(peer: str, path: str, cursor: str = "", limit: int = 200, **filters: str) -> ListPage:
    """A page of a list, with exact numbers. ``filters`` are query parameters. Raises PeerRefused, PeerUnreachable."""
    answer = call(peer, "GET", path, params={"limit": limit, **({"cursor": cursor} if cursor else {}), **filters})
    try:
        page = _decode_list(answer.content)
    except UNREADABLE as error:
        raise PeerFailed(peer, f"served a list that cannot be read: {error}", answer.status) from None
    following = parse_qs(urlsplit(page.next).query)["cursor"][0] if page.next else None
    return ListPage(page.results, following)
