"""Budgets: how many reads, writes, and writes that send mail a caller may make in a minute.

The processes of a service share a caller's budget, but a read does not update a row in Postgres each time. A process
counts requests in memory and adds them to the counters in Postgres in batches of 2 % of the budget. So each process may
let through up to 2 % too many. Budgets below 100 have batches of one and are exact. While Postgres does not answer,
each process counts alone.

DRF's own throttles and the packages for Django count in the cache, which the processes here do not share.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from platform_core.auth.access import caller_of
from platform_core.auth.identity import NOBODY, Identity, Kind
from platform_core.auth.throttle import Limit, Window, add, address_of
from platform_core.conf.rate_limits import ANONYMOUS, CUSTOMER, MAILS, READS, SERVICE, STAFF, WRITES
from platform_core.http import context
from platform_core.http.errors import Unavailable
from platform_core.http.rate_limits import Allowance

SECONDS: Final = 60
_BATCHES = 50
_REMEMBERED = 10_000
"""The most limits that a process remembers. Then it forgets the one it has known for the longest time."""
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


View = TypeVar("View", bound=Callable[..., Any])


def sends_mail(view: View) -> View:
    """Marks a view method whose success sends a mail. It counts under the budget of mails, too."""
    view.sends_mail = True  # type: ignore[attr-defined]
    return view


class _Tally:
    """The requests of one caller under one limit, as this process knows them."""

    __slots__ = ("in_flight", "in_postgres", "uncounted", "until")

    def __init__(self, until: float) -> None:
        self.until = until
        """The end of the window, in ``time.monotonic()`` seconds."""
        self.in_postgres = self.in_flight = self.uncounted = 0

    @property
    def total(self) -> int:
        return self.in_postgres + self.in_flight + self.uncounted

    def take(self) -> int:
        """Takes the uncounted requests, to count them in Postgres."""
        times, self.uncounted = self.uncounted, 0
        self.in_flight += times
        return times

    def learn(self, window: Window, now: float) -> None:
        """Takes over the count in Postgres. Of two concurrent answers for one window, the higher count is the later."""
        is_new = now + window.seconds > self.until + 1
        self.in_postgres = window.times if is_new else max(self.in_postgres, window.times)
        self.until = now + window.seconds


class Tallies:
    """The tallies of a process. The lock is never held during a statement."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tallies: dict[Limit, _Tally] = {}

    def spend(self, limits: Sequence[Limit]) -> list[Allowance]:
        """Count a request under each of the limits, unless one is used up. Returns what is left of each.

        A negative number means that the request is refused.
        """
        now = time.monotonic()
        taken: list[tuple[Limit, _Tally, int]] = []
        with self._lock:
            tallies = [(limit, self._tally(limit, now)) for limit in limits]
            is_refused = any(tally.total >= limit.most for limit, tally in tallies)
            if not is_refused:
                for _, tally in tallies:
                    tally.uncounted += 1
                if any(tally.in_flight + tally.uncounted >= _batch(limit) for limit, tally in tallies):
                    taken = [(limit, tally, tally.take()) for limit, tally in tallies]
        if taken:
            self._settle(taken)
            now = time.monotonic()
        return [
            Allowance(limit.name, limit.most, limit.seconds, _left(limit, tally, is_refused), tally.until - now)
            for limit, tally in tallies
        ]

    def _tally(self, limit: Limit, now: float) -> _Tally:
        tally = self._tallies.get(limit)
        if tally is None or tally.until <= now:
            self._tallies.pop(limit, None)
            if len(self._tallies) >= _REMEMBERED:
                del self._tallies[next(iter(self._tallies))]
            tally = self._tallies[limit] = _Tally(now + limit.seconds)
        return tally

    def _settle(self, taken: Sequence[tuple[Limit, _Tally, int]]) -> None:
        """Adds the taken requests to the counters in Postgres. If it does not answer, a later request does."""
        windows: Mapping[Limit, Window] = {}
        try:
            windows = add({limit: times for limit, _, times in taken})
        except (DatabaseError, InterfaceError, Unavailable):
            pass  # a request that needs the database notices by itself
        finally:
            now = time.monotonic()
            with self._lock:
                for limit, tally, times in taken:
                    tally.in_flight -= times
                    if limit in windows:
                        tally.learn(windows[limit], now)
                    else:
                        tally.uncounted += times

    def forget(self) -> None:
        """Forget everything. For tests."""
        with self._lock:
            self._tallies.clear()


def _left(limit: Limit, tally: _Tally, is_refused: bool) -> int:
    left = limit.most - tally.total
    return -1 if is_refused and left <= 0 else left


def _batch(limit: Limit) -> int:
    return max(1, limit.most // _BATCHES)


tallies = Tallies()
"""This process's."""


class BudgetThrottle(BaseThrottle):
    """Applies `settings.RATE_LIMITS`. DRF asks it after authentication and permissions, as it does all throttles."""

    _wait = 0.0

    def allow_request(self, request: Request, view: Any) -> bool:
        """Whether the caller has something left. Shows it in the headers of the answer."""
        limits = list(limits_of(request, view))
        if not limits:
            return True
        allowances = tallies.spend(limits)
        for each in allowances:
            context.note_allowance(each._replace(left=max(each.left, 0)))
        exceeded = [each.seconds for each in allowances if each.left < 0]
        self._wait = max(exceeded, default=0.0)
        return not exceeded

    def wait(self) -> float:
        """Seconds until the budget begins again."""
        return self._wait


def limits_of(request: Request, view: Any) -> Iterator[Limit]:
    """The limits that the request counts under: none for callers without a budget."""
    if not settings.RATE_LIMITS:
        return
    caller = caller_of(request)
    who = f"{caller.caller}:{address_of(request)}" if caller is NOBODY else caller.caller
    for kind in _kinds(request.method or "", view):
        most = budget_of(caller, kind)
        if most is not None:
            yield Limit(kind, who, most, SECONDS)


def budget_of(caller: Identity, kind: str) -> int | None:
    """How many requests of this kind the caller may make in a minute; None if there is no limit.

    A person with several roles has the largest of their budgets. A role without one of its own has that of the staff.
    """
    budgets = settings.RATE_LIMITS
    match caller.kind:
        case Kind.NOBODY:
            names = [ANONYMOUS]
        case Kind.SERVICE:
            names = [SERVICE]
        case Kind.USER if not caller.roles:
            names = [CUSTOMER]
        case _:
            names = [role.value if (role.value, kind) in budgets else STAFF for role in caller.roles] or [STAFF]
    found = [budgets.get((name, kind)) for name in names]
    return None if None in found else max(most for most in found if most is not None)


def _kinds(method: str, view: Any) -> Iterator[str]:
    if method in _SAFE_METHODS:
        yield READS
        return
    yield WRITES
    handler = getattr(view, getattr(view, "action", None) or method.lower(), None)
    if getattr(handler, "sends_mail", False):
        yield MAILS
