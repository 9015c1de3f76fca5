"""The event feeds of the services, as a consumer reads them."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from platform_core.clients.engine import UNREADABLE, call
from platform_core.clients.errors import PeerFailed

MEDIA_TYPE = "application/cloudevents-batch+json"


class Event(msgspec.Struct, frozen=True):
    """A CloudEvent; ``data`` holds its numbers exact."""

    id: str
    type: str
    subject: str
    time: datetime
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class FeedPage:
    """``pending``: more is committed than could be shown; ask again."""

    events: list[Event]
    pending: bool


_decode = msgspec.json.Decoder(list[Event], float_hook=Decimal).decode


def read_feed(peer: str, last_event_id: str, limit: int = 1000) -> FeedPage:
    """The events behind ``last_event_id`` (empty: from the beginning). Raises PeerRefused, PeerUnreachable."""
    params = {"limit": limit, **({"lastEventId": last_event_id} if last_event_id else {})}
    answer = call(peer, "GET", "/api/events", params=params, accept=MEDIA_TYPE)
    try:
        events = _decode(answer.content)
    except UNREADABLE as error:
        raise PeerFailed(peer, f"served a feed that cannot be read: {error}", answer.status) from None
    return FeedPage(events, pending=answer.headers.get("Feed-Pending") == "true")
