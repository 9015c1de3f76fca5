"""Catching up with the feeds before an answer, within the request's deadline.

All feeds are read in parallel, by threads that never touch the database; what they bring is taken in by the request's
own thread. A request counts a service as fresh only by a read that began after the request did.
"""

import contextvars
import logging
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from django.utils.timezone import now

from analytics_svc.models import FeedPosition
from analytics_svc.projection import take_in
from platform_core import context
from platform_core.clients.bulkhead import BulkheadFull
from platform_core.clients.errors import PeerError
from platform_core.clients.feeds import FeedPage, read_feed
from platform_core.clients.peers import bulkhead
from platform_core.errors import DeadlineExceeded

PAGE = 1000
SHARE_OF_DEADLINE = 0.8
PENDING_PAUSE = 0.02
NOTED_EVERY = timedelta(seconds=1)
log = logging.getLogger("analytics.feeds")


@dataclass(frozen=True, slots=True)
class Freshness:
    """``as_of``: every change committed before it is in the figures. ``stale``: who did not answer in time."""

    as_of: datetime
    stale: list[str]


@dataclass(frozen=True, slots=True)
class _Read:
    """A page of a feed, and when its reading began."""

    after: str
    began: datetime
    page: FeedPage


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=16, thread_name_prefix="feeds")


def catch_up(services: Sequence[str]) -> Freshness:
    """Take in what the feeds of ``services`` have; as much of it as the deadline allows."""
    budget = (context.remaining() or 5.0) * SHARE_OF_DEADLINE
    until = time.monotonic() + budget
    positions = _positions(services)
    fresh: dict[str, datetime] = {}
    try:
        with bulkhead().place(budget):
            _read_all(services, until, positions, fresh)
    except BulkheadFull:
        log.warning("feed.busy", extra={"data": {"services": list(services)}})
    return _freshness(services, positions, fresh)


def _read_all(
    services: Sequence[str], until: float, positions: dict[str, FeedPosition], fresh: dict[str, datetime]
) -> None:
    """Read the feeds side by side, again and again, until each is at its end or the time is over."""
    running = {_start(name, positions[name].last_event_id): name for name in services}
    while running:
        done, _ = wait(running, timeout=max(0.0, until - time.monotonic()), return_when=FIRST_COMPLETED)
        if not done:
            break
        for future in done:
            name = running.pop(future)
            again = _digest(name, future, positions, fresh)
            if again is not None and time.monotonic() < until:
                running[_start(name, positions[name].last_event_id, pause=again)] = name


def _positions(services: Sequence[str]) -> dict[str, FeedPosition]:
    found = FeedPosition.objects.in_bulk(services)
    missing = [FeedPosition(service=name) for name in services if name not in found]
    if missing:
        FeedPosition.objects.bulk_create(missing, ignore_conflicts=True)
        found = FeedPosition.objects.in_bulk(services)
    return found


def _start(name: str, after: str, pause: float = 0.0) -> Future[_Read]:
    return _pool().submit(contextvars.copy_context().run, _read, name, after, pause)


def _read(name: str, after: str, pause: float) -> _Read:
    if pause:
        time.sleep(pause)
    began = now()
    return _Read(after, began, read_feed(name, after, PAGE))


def _digest(
    name: str, future: Future[_Read], positions: dict[str, FeedPosition], fresh: dict[str, datetime]
) -> float | None:
    """Take a page in. None when the feed is done with, else after how many seconds to read on."""
    try:
        read = future.result()
    except (PeerError, DeadlineExceeded) as error:
        log.warning("feed.unreachable", extra={"data": {"service": name, "error": str(error)}})
        return None
    events = read.page.events
    whole = len(events) < PAGE and not read.page.pending
    if events:
        positions[name] = take_in(name, read.after, events, read.began if whole else None)
        if positions[name].last_event_id != events[-1].id:
            return 0.0
    if len(events) == PAGE:
        return 0.0
    if read.page.pending:
        return PENDING_PAUSE
    fresh[name] = read.began
    return None


def _freshness(services: Sequence[str], positions: dict[str, FeedPosition], fresh: dict[str, datetime]) -> Freshness:
    _note(positions, fresh)
    stale = [name for name in services if name not in fresh]
    known = [fresh.get(name) or positions[name].caught_up_at for name in services]
    epoch = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    return Freshness(as_of=min(moment or epoch for moment in known), stale=stale)


def _note(positions: dict[str, FeedPosition], fresh: dict[str, datetime]) -> None:
    """Remember when we last were up to date; not at every request, for that would be a write for each."""
    late = [
        name
        for name, at in fresh.items()
        if at - (positions[name].caught_up_at or at.min.replace(tzinfo=at.tzinfo)) > NOTED_EVERY
    ]
    if late:
        FeedPosition.objects.filter(service__in=late).update(caught_up_at=min(fresh[name] for name in late))
