"""Rebuilds the read models beside the live ones, from the feeds, or from the services' lists if a feed is incomplete.

A rebuild fills a new generation and makes it live in one update. Until then reports show the old generation and list
all services as stale. A rebuild that dies leaves the old generation unchanged. After LEASE, reports update the old
generation again. The next rebuild deletes the unfinished one.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec
import psycopg
from django.db import transaction
from django.db.models import Max, Model, QuerySet
from django.db.models.functions import Now
from django.utils.timezone import now

from analytics_svc.catching_up import PAGE, live_positions, new_position
from analytics_svc.contributions import BIGINT, State, state_of
from analytics_svc.models import DailyFigure, Fact, FeedPosition, Figure, ParkedEvent, ProductFigure
from analytics_svc.projection import Undigestible, Update, fold_in, hold, park, read_row, take_in
from platform_core.api import encode
from platform_core.clients import (
    Event,
    FeedPage,
    ListPage,
    PeerError,
    PeerUnreachable,
    has_expired,
    read_feed,
    read_kept_feed,
    read_list,
)
from platform_core.conf import reached
from platform_core.db import open_beside
from platform_core.topology import NOTIFICATION, ORDER, PRODUCT, USER
from platform_core.vocabulary import COUNTED, SETTLED

LEASE = timedelta(seconds=60)
PEER_TIMEOUT = 30.0
"""Seconds that a service may be unreachable before the rebuild fails."""
PAUSE = 0.2
RENEWED_EVERY = 5.0
"""Seconds between two renewals of the lease."""
BATCH = 1000
_LOCK = 4711_0005
T = TypeVar("T")


class RebuildError(Exception):
    """The rebuild failed; the message says why. The old figures are unchanged."""


class Progress(Protocol):
    """Called with the finished share of a service (0 to 1), and with the kind and number of the items so far."""

    def __call__(self, service: str, share: float, what: str, count: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Source:
    """A service's list, and the statuses that the figures count.

    ``remembered`` converts the old state of a resource that is not in the list. Without it, such a state is dropped.
    """

    kind: str
    path: str
    statuses: tuple[str, ...] = ()
    remembered: Callable[[State], State] | None = None


def _deleted(state: State) -> State:
    """A resource that is no longer in the list has been deleted."""
    return state.as_deleted()


def _as_it_was(state: State) -> State:
    """A notification that failed and is being resent still counts as failed."""
    return state


SOURCES: Mapping[str, Source] = {
    USER.name: Source("user", "/api/users", remembered=_deleted),
    PRODUCT.name: Source("product", "/api/products", remembered=_deleted),
    ORDER.name: Source("order", "/api/orders", COUNTED),
    NOTIFICATION.name: Source("notification", "/api/notifications", SETTLED, _as_it_was),
}


def rebuild(progress: Progress) -> None:
    """Rebuilds all figures. Raises RebuildError. After an error or a crash the old figures are unchanged."""
    with _alone() as assure_alone:
        old = live_positions()
        _clear_all_but(old)
        _claim(old)
        try:
            new = _new_generation(old)
            for name in SOURCES:
                _Refill(name, old, new, progress).run()
            _make_live(old, new, assure_alone)
        finally:
            FeedPosition.objects.filter(live=True).update(rebuilding_until=None)
        reached("rebuild.live")
        _clear(Fact, generation=_generation(old))


@contextmanager
def _alone() -> Iterator[Callable[[], object]]:
    """Allows one rebuild at a time. Yields a function that raises an error if the lock has been lost.

    The advisory lock belongs to a transaction of a connection of its own: behind a pooler, a session is not one's own.
    It ends with the process, even after a crash. Such a transaction has no id, so it hides no events.
    """
    with closing(open_beside()) as own:
        own.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        if own.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK]).fetchone() != (True,):
            raise RebuildError("Another rebuild is running.")

        def assure() -> None:
            try:
                own.execute("SELECT 1")
            except psycopg.OperationalError:
                raise RebuildError("The connection that holds the lock of the rebuild was lost; try again.") from None

        yield assure


def _generation(positions: Mapping[str, FeedPosition]) -> int:
    return next(iter(positions.values())).generation


def _claim(live: Mapping[str, FeedPosition]) -> None:
    FeedPosition.objects.filter(generation=_generation(live)).update(rebuilding_until=Now() + LEASE)


def _clear_all_but(live: Mapping[str, FeedPosition]) -> None:
    """Deletes other generations: unfinished ones, and an old one that requests may still have been reading."""
    for model in (FeedPosition, Fact, Figure, DailyFigure, ProductFigure, ParkedEvent):
        _clear(model, generation__lt=_generation(live))
        _clear(model, generation__gt=_generation(live))


def _clear(model: type[Model], **which: int) -> None:
    """Deletes rows in batches, because each statement has a limit."""
    some = model._default_manager.filter(**which).order_by().values("pk")[: BATCH * 5]
    while model._default_manager.filter(pk__in=some).delete()[0]:
        pass


def _new_generation(old: Mapping[str, FeedPosition]) -> dict[str, FeedPosition]:
    number = _generation(old) + 1
    positions = {name: new_position(name, generation=number, live=False) for name in SOURCES}
    FeedPosition.objects.bulk_create(positions.values())
    return positions


@transaction.atomic
def _make_live(
    old: Mapping[str, FeedPosition], new: Mapping[str, FeedPosition], assure_alone: Callable[[], object]
) -> None:
    FeedPosition.objects.filter(generation=_generation(old)).update(live=False, rebuilding_until=None)
    FeedPosition.objects.filter(generation=_generation(new)).update(live=True)
    assure_alone()


class _Page(NamedTuple):
    """A page of a list, newest first. It contains all rows with ``first`` <= id < ``end``."""

    rows: list[dict[str, Any]]
    first: int
    end: int


_KEPT_EVENTS, _LIST, _LAST_EVENTS = (0.0, 0.45), (0.45, 0.95), (0.95, 0.99)
"""From where to where the progress of a service goes in each part, if its list is needed."""


class _Refill:
    """Fills one service's part of the new generation."""

    def __init__(
        self, name: str, old: Mapping[str, FeedPosition], new: Mapping[str, FeedPosition], progress: Progress
    ) -> None:
        self.name, self.source = name, SOURCES[name]
        self.old, self.position = old[name], new[name]
        self.all_old, self.progress = old, progress
        self.count, self.first = 0, ""
        self.share, self.part = 0.0, (0.0, 0.99)
        self.renewed = 0.0
        self.ended = threading.Event()
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="rebuild")

    def tell(self, share: float, what: str, count: int) -> None:
        """Report the share that is done of the present part of the work. It never falls, even if the feed grows."""
        low, high = self.part
        self.share = max(self.share, low + (high - low) * share)
        self.progress(self.name, self.share, what, count)

    def run(self) -> None:
        try:
            self.refill()
        finally:
            self.ended.set()
            self.thread.shutdown(cancel_futures=True)
        self.progress(self.name, 1.0, "events", self.count)

    def refill(self) -> None:
        try:
            self.read_feed_on()
        except PeerError as error:
            if not has_expired(error):
                raise RebuildError(f"{error}. Nothing has changed; try again.") from None
            if self.position.last_event_id:
                raise RebuildError(
                    f"Events at the beginning of the feed of {self.name} were deleted during the rebuild; try again."
                ) from None
            self.take_list()
            self.part = _LAST_EVENTS
            self.read_feed_on()

    def read_feed_on(self) -> None:
        """Reads the feed to its end. Hidden and later events are applied before the next report."""
        self.take_pages(self.after(self.position.last_event_id))

    def after(self, last_event_id: str) -> Callable[[], FeedPage]:
        """The question for the page of the feed after an event."""
        return partial(read_feed, self.name, last_event_id, PAGE)

    def take_list(self) -> None:
        """Applies the remaining events of the feed, then the list, then resources that only the old figures have.

        The list is read after the feed, and the feed is read to a position where it hides no events. All events after
        this position were committed later than all events before it. So a row of the list is newer than the events that
        were applied before it, and later events replace it. If there are none, the row is the latest state.
        """
        newest = self.newest_fact()
        self.part = _KEPT_EVENTS
        start = self.take_kept()
        self.part = _LIST
        for page in self.pages():
            counted = [row for row in page.rows if not self.source.statuses or row["status"] in self.source.statuses]
            self.fold([update for row in counted if (update := self.update_of(row))])
            self.carry_over(page, [int(row["id"]) for row in counted], newest)
        self.position.last_event_id = start
        self.position.save(update_fields=["last_event_id"])

    def take_kept(self) -> str:
        """Reads the feed from its present beginning to its end. Returns a position at which it hides no events."""
        until = time.monotonic() + PEER_TIMEOUT
        page = self.take_pages(self.kept())
        while page.pending or not page.position:
            if time.monotonic() > until:
                raise RebuildError(f"An open transaction of {self.name} hides events for too long; try again.")
            time.sleep(PAUSE / 10)
            page = self.take_pages(self.kept())
        return page.position

    def kept(self) -> Callable[[], FeedPage]:
        if self.position.last_event_id:
            return self.after(self.position.last_event_id)
        return partial(read_kept_feed, self.name, PAGE)

    def take_pages(self, question: Callable[[], FeedPage]) -> FeedPage:
        """Applies page after page. Returns the last one, which is the first that is not full.

        Each page is read while the one before is applied.
        """
        answer = self.ask(question)
        while True:
            page = self.answer(answer)
            if len(page.events) == PAGE:
                answer = self.ask(self.after(page.events[-1].id))
            if page.events:
                self.first = self.first or page.events[0].id
                self.position = take_in(self.position, page.events, None)
                self.count += len(page.events)
                self.tell(_share(self.first, page.events[-1].id, page.position), "events", self.count)
            reached("rebuild.page")
            if len(page.events) < PAGE:
                return page

    @transaction.atomic
    def newest_fact(self) -> int:
        """The id of the newest fact, read under the lock. Facts up to it existed before the list was read."""
        hold(self.old)
        facts = Fact.objects.filter(generation=self.old.generation, kind=self.source.kind)
        return facts.aggregate(newest=Max("pk"))["newest"] or 0

    def pages(self) -> Iterator[_Page]:
        """The pages of the list. Each is read while the one before is applied."""
        answer: Future[ListPage] | None = self.ask(partial(read_list, self.name, self.source.path, ""))
        seen, newest, end = 0, 0, BIGINT
        while answer is not None:
            page = self.answer(answer)
            following = partial(read_list, self.name, self.source.path, page.next) if page.next else None
            answer = self.ask(following) if following else None
            first = int(page.results[-1]["id"]) if page.next and page.results else 0
            yield _Page(page.results, first, end)
            newest = newest or (int(page.results[0]["id"]) if page.results else 0)
            seen, end = seen + len(page.results), first
            share = 1 - first / (newest + 1)
            self.tell(share, f"{self.source.kind}s of the list", seen)

    def update_of(self, row: dict[str, Any]) -> Update | None:
        """The update in a row of the list, or None if the row was parked."""
        try:
            return read_row(self.source.kind, row)
        except Undigestible as error:
            kind, subject = self.source.kind, str(row["id"])
            event = Event(f"list-{kind}-{subject}", f"{kind}.listed", subject, now(), msgspec.Raw(encode(row)))
            park(self.position, event, str(error)).save()
            return None

    def fold(self, updates: Sequence[Update]) -> None:
        if updates:
            with transaction.atomic():
                hold(self.position)
                fold_in(self.position, updates)
                reached("rebuild.listed")

    def carry_over(self, page: _Page, listed: Sequence[int], newest: int) -> None:
        """Carries over resources in the page's range of ids that the page lacks, from old figures and from events."""
        remember, kind = self.source.remembered, self.source.kind
        if remember is None:
            return
        stretch = Fact.objects.filter(kind=kind, resource_id__gte=page.first, resource_id__lt=page.end)
        lacking = stretch.exclude(resource_id__in=listed)
        for rows in (
            lacking.filter(generation=self.old.generation, pk__lte=newest),
            lacking.filter(generation=self.position.generation),
        ):
            for facts in _batches(rows):
                self.fold([Update((kind, pk), remember(state_of(kind, state))) for pk, state in facts])

    def ask(self, question: Callable[[], T]) -> Future[T]:
        """Calls a peer in another thread, which waits if the peer is unreachable."""
        return self.thread.submit(self.insist, question)

    def insist(self, question: Callable[[], T]) -> T:
        """Asks again while the peer is unreachable, for at most PEER_TIMEOUT. Raises PeerError."""
        until = time.monotonic() + PEER_TIMEOUT
        while True:
            try:
                return question()
            except PeerUnreachable:
                if time.monotonic() > until or self.ended.wait(PAUSE):
                    raise

    def answer(self, asked: Future[T]) -> T:
        """The answer of a peer. Renews the lease of the rebuild meanwhile. Raises PeerError."""
        while True:
            self.renew()
            with suppress(TimeoutError):
                return asked.result(RENEWED_EVERY)

    def renew(self) -> None:
        if time.monotonic() > self.renewed + RENEWED_EVERY:
            self.renewed = time.monotonic()
            _claim(self.all_old)


def _batches(rows: QuerySet[Fact]) -> Iterator[list[tuple[int, Any]]]:
    """Yields resource ids and states in batches, in the order of the ids."""
    last = -1
    while found := list(
        rows.filter(resource_id__gt=last).order_by("resource_id").values_list("resource_id", "state")[:BATCH]
    ):
        yield found
        last = found[-1][0]


def _share(first: str, last: str, end: str) -> float:
    """The position of ``last`` between the first event and the end, by transaction id, from 0 to 1."""
    low, here, high = (int(place.split("-")[1]) if place else 0 for place in (first, last, end))
    return min(1.0, (here - low) / (high - low)) if high > low else 1.0
