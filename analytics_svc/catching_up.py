"""Brings the figures up to date with the feeds before a report, within the request's deadline.

The worker follows the feeds (`following.py`), so a request finds only what is newer than the worker's last page.
Without a worker the request reads everything itself. Threads read all feeds in parallel and never use the database. The
request's own thread applies the events. A service is fresh for a request only if the read of its feed began after the
request.
"""

import contextvars
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any

from django.conf import settings
from django.utils.timezone import now

from analytics_svc.models import FeedPosition
from analytics_svc.projection import IS_REBUILT, Occupied, Superseded, take_in
from analytics_svc.sharing import Shared
from platform_core.clients import (
    BulkheadFull,
    CallerRefused,
    FeedPage,
    PeerError,
    has_expired,
    peer_bulkhead,
    read_feed,
)
from platform_core.http import DeadlineExceeded, context
from platform_core.topology import NOTIFICATION, ORDER, PRODUCT, USER

PAGE = 1000
SHARE_OF_DEADLINE = 0.8
SHARE_FOR_OTHERS = 0.25
"""Share of its time that a request may wait for another request's run before it reads the feeds itself."""
DEFAULT_TIME = 5.0
PENDING_PAUSE = 0.02
NOTED_EVERY = timedelta(seconds=1)
SOURCES = tuple(service.name for service in (USER, PRODUCT, ORDER, NOTIFICATION))
"""The services whose events are counted."""
log = logging.getLogger("analytics.feeds")


@dataclass(frozen=True, slots=True)
class Freshness:
    """How complete the figures of a generation are.

    All changes that were committed before ``as_of`` are in the figures. ``stale`` lists the services that did not
    answer in time. ``time_zone`` is the one in which the figures' days are cut.
    """

    as_of: datetime
    stale: list[str]
    generation: int
    time_zone: str


@dataclass(frozen=True, slots=True)
class Read:
    """A page of a feed, the position before it, and the time when the read began."""

    after: FeedPosition
    began: datetime
    page: FeedPage

    @property
    def is_full(self) -> bool:
        """Whether there is probably more to read."""
        return len(self.page.events) >= PAGE

    @property
    def reached_the_end(self) -> bool:
        """Whether the page ends with the last event that was committed before the read began."""
        return not self.is_full and not self.page.pending

    def expected(self) -> FeedPosition:
        """The position after the page, unless somebody else applies it."""
        following = copy(self.after)
        following.last_event_id = self.page.events[-1].id
        return following


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=16, thread_name_prefix="feeds")


def catch_up(services: Sequence[str]) -> Freshness:
    """Applies the new events of ``services``, as many as the deadline allows.

    During a rebuild no events are applied, and all services are stale.
    """
    left = context.remaining() or DEFAULT_TIME
    return _shared(tuple(services)).get(left * SHARE_FOR_OTHERS)


@cache
def _shared(services: tuple[str, ...]) -> Shared[Freshness]:
    """The shared runs of `_catch_up`. Stale results are not shared: another request may have more time."""
    return Shared(partial(_catch_up, services), will_do=lambda freshness: not freshness.stale)


def _catch_up(services: Sequence[str]) -> Freshness:
    budget = (context.remaining() or DEFAULT_TIME) * SHARE_OF_DEADLINE
    until = time.monotonic() + budget
    positions = live_positions()
    if is_being_rebuilt(positions):
        return replace(_freshness(services, positions, {}), stale=list(SOURCES))
    fresh: dict[str, datetime] = {}
    try:
        with peer_bulkhead().place(budget):
            _read_all(services, until, positions, fresh)
    except BulkheadFull:
        log.warning("feed.busy", extra={"data": {"services": list(services)}})
    return _freshness(services, positions, fresh)


def is_being_rebuilt(positions: Mapping[str, FeedPosition]) -> bool:
    """Whether a rebuild held its lease, by Postgres' clock, when the positions were read."""
    return any(position.is_rebuilt for position in positions.values())  # type: ignore[attr-defined]


def live_positions() -> dict[str, FeedPosition]:
    """The positions of the live generation, by service."""
    found = _live_positions()
    if not found:
        FeedPosition.objects.bulk_create([new_position(name) for name in SOURCES], ignore_conflicts=True)
        found = _live_positions()
    return found


def new_position(service: str, **values: Any) -> FeedPosition:
    """The start of a feed, unsaved. Days of the figures will be cut in SHOP_TIME_ZONE."""
    return FeedPosition(service=service, time_zone=settings.SHOP_TIME_ZONE, **values)


def _live_positions() -> dict[str, FeedPosition]:
    live = FeedPosition.objects.filter(live=True).annotate(is_rebuilt=IS_REBUILT)
    return {position.service: position for position in live}


def _read_all(
    services: Sequence[str], until: float, positions: dict[str, FeedPosition], fresh: dict[str, datetime]
) -> None:
    """Reads the feeds in parallel, page after page, until all are at their ends or the time is over."""
    running = {start_read(_pool(), positions[name]): name for name in services}
    while running:
        done, _ = wait(running, timeout=max(0.0, until - time.monotonic()), return_when=FIRST_COMPLETED)
        if not done:
            break
        for future in done:
            name = running.pop(future)
            following = _digest(name, future, positions, fresh, until)
            if following is not None and time.monotonic() < until:
                running[following] = name


def start_read(pool: Executor, after: FeedPosition, *, pause: float = 0.0, acknowledging: bool = True) -> Future[Read]:
    """Read the page after a position in another thread, after ``pause`` seconds.

    With ``acknowledging``, the feed may delete the events up to the position, so it must be committed.
    """
    return pool.submit(contextvars.copy_context().run, _read, after, pause, acknowledging)


def _read(after: FeedPosition, pause: float, acknowledging: bool) -> Read:
    if pause:
        time.sleep(pause)
    began = now()
    page = read_feed(after.service, after.last_event_id, PAGE, acknowledging=acknowledging)
    return Read(after, began, page)


def apply(read: Read) -> FeedPosition:
    """Applies a page and returns the stored position, which is another one if somebody else has moved it meanwhile.

    Raises Superseded, and Occupied if somebody holds the position for longer than Postgres lets a statement wait.
    """
    return take_in(read.after, read.page.events, read.began if read.reached_the_end else None)


def _digest(
    name: str, future: Future[Read], positions: dict[str, FeedPosition], fresh: dict[str, datetime], until: float
) -> Future[Read] | None:
    """Applies a page. Returns the read of the next one, or None if the feed is finished.

    The next page is read while this one is applied.
    """
    ahead = None
    try:
        read = future.result()
        if read.is_full and time.monotonic() < until:
            ahead = start_read(_pool(), read.expected(), acknowledging=False)
        if read.page.events:
            positions[name] = apply(read)
    except (PeerError, DeadlineExceeded, Superseded, Occupied) as error:
        tell(name, error)
        return None
    if read.page.events and positions[name].last_event_id != read.page.events[-1].id:
        return start_read(_pool(), positions[name])
    if ahead is not None or read.is_full:
        return ahead
    if read.page.pending:
        return start_read(_pool(), positions[name], pause=PENDING_PAUSE)
    fresh[name] = read.began
    return None


def tell(name: str, error: Exception) -> None:
    """Log why a feed was not read to its end."""
    data = {"peer": name, "error": str(error)}
    if has_expired(error):
        log.error("feed.expired", extra={"data": {**data, "remedy": "manage.py analytics_svc rebuild"}})
    elif isinstance(error, Superseded):
        log.info("feed.superseded", extra={"data": data})
    elif isinstance(error, Occupied):
        log.warning("feed.occupied", extra={"data": data})
    elif isinstance(error, CallerRefused):
        log.error("feed.refused", extra={"data": data})
    else:
        log.warning("feed.unreachable", extra={"data": data})


def _freshness(services: Sequence[str], positions: dict[str, FeedPosition], fresh: dict[str, datetime]) -> Freshness:
    note(positions, fresh, NOTED_EVERY)
    stale = [name for name in services if name not in fresh]
    known = [fresh.get(name) or positions[name].caught_up_at for name in services]
    epoch = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    as_of = min(moment or epoch for moment in known)
    first = positions[services[0]]
    return Freshness(as_of, stale, first.generation, first.time_zone)


def note(positions: Mapping[str, FeedPosition], fresh: Mapping[str, datetime], every: timedelta) -> None:
    """Stores when the figures were last up to date, unless the stored time is at most ``every`` older."""
    late = [
        name
        for name, at in fresh.items()
        if at - (positions[name].caught_up_at or at.min.replace(tzinfo=at.tzinfo)) > every
    ]
    if late:
        rows = FeedPosition.objects.filter(pk__in=[positions[name].pk for name in late])
        rows.update(caught_up_at=min(fresh[name] for name in late))
