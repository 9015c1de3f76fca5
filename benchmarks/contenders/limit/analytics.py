"""analytics-service: the summary. All requests to the feeds are sent before the first response is awaited."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.client import HTTPException
from typing import Any
from urllib.parse import urlencode

import msgspec

from benchmarks.contenders.limit import peers
from benchmarks.contenders.limit.database import execute
from benchmarks.contenders.limit.wire import Answer, Environ, Refused, encode, served, trace_of

_SOURCES = ("user", "product", "order", "notification")
_STATUSES = ("confirmed", "shipped", "delivered", "cancelled")
_POSITIONS = "SELECT service, last_event_id, caught_up_at, generation FROM analytics_svc_feedposition WHERE live"
_NOTE = """
    UPDATE analytics_svc_feedposition SET caught_up_at = %(at)s
    WHERE live AND service = ANY (%(services)s) AND (caught_up_at IS NULL OR caught_up_at < %(late)s)
"""
_FIGURES = """
    SELECT name, value FROM analytics_svc_figure WHERE generation = %(generation)s
    UNION ALL
    SELECT 'today', value FROM analytics_svc_dailyfigure
    WHERE generation = %(generation)s AND name = 'users.new' AND date = %(today)s
"""
_BEGINNING = "0-0-0"
_EPOCH = datetime.fromtimestamp(0, UTC)


class Event(msgspec.Struct):
    id: str


class Position(msgspec.Struct):
    last_event_id: str = _BEGINNING
    caught_up_at: datetime | None = None
    generation: int = 1


class Figures(dict[str, Decimal]):
    def __missing__(self, name: str) -> Decimal:
        return Decimal(0)


_events = msgspec.json.Decoder(list[Event]).decode
_passed_over: dict[str, str] = {}
"""Position of each feed. This contender applies no events, so a service with new events stays stale."""


def summary(environ: Environ, name: str) -> Answer:
    at = datetime.now(UTC)
    positions = {service: Position(*row) for service, *row in execute(_POSITIONS)}
    known = [positions.get(f"{source}-service", Position()) for source in _SOURCES]
    news = _ask_all(known, trace_of(environ))
    fresh = [f"{source}-service" for source, nothing in news.items() if nothing]
    _note(fresh, positions, at)
    stale = [f"{source}-service" for source, nothing in news.items() if not nothing]
    as_of = min(
        at if news[source] else each.caught_up_at or _EPOCH for source, each in zip(_SOURCES, known, strict=True)
    )
    values = {"generation": known[0].generation, "today": at.date()}
    return Answer(200, encode(_report(as_of, stale, Figures(execute(_FIGURES, values).fetchall()))))


def _ask_all(known: list[Position], trace: dict[str, str]) -> dict[str, bool]:
    """Whether each feed has nothing new."""
    paths = {source: _path(source, position) for source, position in zip(_SOURCES, known, strict=True)}
    for source, path in paths.items():
        with suppress(OSError, HTTPException):
            peers.connection(source).request("GET", path)
    return {source: _has_nothing_new(source, path, trace) for source, path in paths.items()}


def _path(source: str, position: Position) -> str:
    after = _passed_over.get(source) or position.last_event_id or _BEGINNING
    return f"/api/events?{urlencode({'lastEventId': after, 'limit': 1000})}"


def _has_nothing_new(source: str, path: str, trace: dict[str, str]) -> bool:
    try:
        answer = _ask_feed(source, path, trace)
    except Refused:
        return False
    if answer.status != 200:
        return False
    events = _events(answer.body)
    if events:
        _passed_over[source] = events[-1].id
    return source not in _passed_over and not answer.pending


def _ask_feed(source: str, path: str, trace: dict[str, str]) -> peers.PeerAnswer:
    try:
        return peers.received(source)
    except (OSError, HTTPException):
        peers.connection(source).close()
        return peers.ask(source, "GET", path, None, trace)


def _note(services: list[str], positions: dict[str, Position], at: datetime) -> None:
    """Stores the time at intervals, to avoid a write for each request."""
    late = at - timedelta(seconds=1)
    if any((positions[name].caught_up_at or _EPOCH) < late for name in services if name in positions):
        execute(_NOTE, {"services": services, "at": at, "late": late})


def _report(as_of: datetime, stale: list[str], figures: Figures) -> dict[str, Any]:
    paid, revenue = figures["orders.paid"], figures["orders.revenue"]
    products = {name: int(figures[f"products.{name}"]) for name in ("total", "outOfStock", "stockUnits")}
    return {
        "asOf": as_of,
        "stale": stale,
        "users": {"total": int(figures["users.total"]), "newToday": int(figures["today"])},
        "products": {**products, "stockValue": figures["products.stockValue"]},
        "orders": {
            "total": int(figures["orders.total"]),
            "byStatus": {status: int(figures[f"orders.status.{status}"]) for status in _STATUSES},
            "revenue": revenue,
            "averageOrderValue": round(revenue / paid, 2) if paid else Decimal(0),
        },
        "notifications": {
            "total": int(figures["notifications.total"]),
            "byStatus": {status: int(figures[f"notifications.status.{status}"]) for status in ("sent", "failed")},
        },
    }


application = served({"GET /api/analytics/*": summary})
