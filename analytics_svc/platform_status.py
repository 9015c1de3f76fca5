"""Status of the five services, and the lag of the figures. All are checked in parallel within a second."""

import contextvars
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar

import msgspec
from django.conf import settings
from django.utils.timezone import now

from analytics_svc.catching_up import SOURCES
from analytics_svc.models import FeedPosition
from platform_core.clients import (
    BulkheadFull,
    FeedPage,
    Health,
    PeerBusy,
    PeerError,
    get_health,
    peer_bulkhead,
    read_feed,
    read_list,
)
from platform_core.http import DeadlineExceeded, context
from platform_core.observability import health
from platform_core.topology import ANALYTICS, ORDER, SERVICES, Service
from platform_core.vocabulary import OrderStatus

TIMEOUT = 1.0
"""Time limit of the checks in seconds."""
OVERDUE_BOUND = 100
"""Overdue orders are counted up to this number."""
STATUSES = ("ok", "down", "unknown")
LAGS = ("current", "pending", "behind", "unknown")

Report = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Answer:
    health: Health
    latency_ms: float


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=32, thread_name_prefix="platform")


def platform() -> Report:
    """Reports the status of the five services, in the order of their ports. A service that does not answer is `down`.

    Raises nothing. Queries: the positions in the feeds, and the checks of this service's database and of its worker.
    """
    positions = {position.service: position for position in FeedPosition.objects.filter(live=True)}
    after = {name: positions[name].last_event_id if name in positions else "" for name in SOURCES}
    healths, pages, overdue = _asked(after)
    services = [
        {
            **(_own_row() if service is ANALYTICS else _peer_row(service, healths[service.name])),
            "feedLag": _lag(pages[service.name], positions.get(service.name)) if service.name in SOURCES else None,
        }
        for service in SERVICES
    ]
    return {"asOf": now(), "services": services, "overdueOrders": overdue}


class _Asked(NamedTuple):
    healths: dict[str, _Answer | Exception]
    pages: dict[str, FeedPage | Exception]
    overdue: int | None


def _asked(after: Mapping[str, str]) -> _Asked:
    """Reads the health of each peer, the first event of each feed that is not in the figures yet, overdue orders."""
    peers = [service.name for service in SERVICES if service is not ANALYTICS]
    try:
        with context.within(TIMEOUT), peer_bulkhead().place(TIMEOUT):
            healths = {name: _start(partial(_ask, name)) for name in peers}
            pages = {name: _start(partial(read_feed, name, position, 1)) for name, position in after.items()}
            overdue = {ORDER.name: _start(_overdue_orders)}
            counted = _results(overdue)[ORDER.name]
            return _Asked(_results(healths), _results(pages), counted if isinstance(counted, int) else None)
    except BulkheadFull:
        busy = {name: PeerBusy(name, "too many requests wait for peers") for name in peers}
        return _Asked({**busy}, {**busy}, None)


def _overdue_orders() -> int:
    """Counts orders that are pending for longer than any request can run, up to `OVERDUE_BOUND`."""
    limit = now() - timedelta(seconds=settings.PENDING_SECONDS)
    found = read_list(
        ORDER.name,
        "/api/orders",
        limit=OVERDUE_BOUND,
        status=OrderStatus.PENDING.value,
        createdBefore=limit.isoformat(),
    )
    return len(found.results)


def _start(ask: Callable[[], T]) -> Future[T]:
    return _pool().submit(contextvars.copy_context().run, ask)


def _results(futures: Mapping[str, Future[T]]) -> dict[str, T | Exception]:
    found: dict[str, T | Exception] = {}
    for name, future in futures.items():
        try:
            found[name] = future.result()
        except (PeerError, DeadlineExceeded) as error:
            found[name] = error
    return found


def _ask(name: str) -> _Answer:
    began = time.perf_counter()
    answer = get_health(name, timeout=TIMEOUT)
    return _Answer(answer, _ms_since(began))


def _peer_row(service: Service, answer: _Answer | Exception) -> Report:
    if isinstance(answer, _Answer):
        return _row(service, answer.health, answer.latency_ms)
    status = "unknown" if isinstance(answer, PeerBusy | DeadlineExceeded) else "down"
    empty = dict.fromkeys(("latencyMs", "version", "mode", "outbox"))
    return {"service": service.name, "status": status, **empty}


def _own_row() -> Report:
    """The row of this service, without a call over the network."""
    began = time.perf_counter()
    answer = msgspec.convert(health.report(), Health)
    return _row(ANALYTICS, answer, _ms_since(began))


def _row(service: Service, answer: Health, latency_ms: float) -> Report:
    return {
        "service": service.name,
        "status": "ok" if answer.status == "ok" else "down",
        "latencyMs": latency_ms,
        "version": answer.version,
        "mode": answer.mode,
        "outbox": msgspec.to_builtins(answer.outbox) if answer.outbox else None,
    }


def _lag(page: FeedPage | Exception, position: FeedPosition | None) -> Report:
    """The lag of one feed.

    ``seconds`` is the age of the oldest event that is not in the figures: 0 if there is none, None if unknown.
    """
    caught_up_at = position.caught_up_at if position else None
    if isinstance(page, Exception):
        status, seconds = "unknown", None
    elif page.events:
        status, seconds = "behind", round(max(0.0, (now() - page.events[0].time).total_seconds()), 1)
    else:
        status, seconds = ("pending", None) if page.pending else ("current", 0.0)
    return {"status": status, "seconds": seconds, "caughtUpAt": caught_up_at}


def _ms_since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 1)
