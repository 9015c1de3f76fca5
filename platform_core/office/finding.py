"""Looks up in this service what somebody has typed into the bar.

A text is compared exactly, with columns that have an index: nothing here reads a whole table. Each service registers
what it can find (`finds`); keys, events and messages, which all services have, are found by the library.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.apps import apps
from django.db.models import Model, QuerySet
from django.urls import reverse

from platform_core.auth.rules import viewers_of, viewers_of_pages
from platform_core.clients.finding import Match
from platform_core.models import IdempotencyKey
from platform_core.vocabulary import MAX_ID, Role

MOST_CHARACTERS = 200
MOST = 10
"""The most matches of one kind."""
_NUMBER = re.compile(r"#?([0-9]{1,18})", re.ASCII)


class Sought(NamedTuple):
    """What somebody looks for. ``number`` is the id that the text may be, or None."""

    text: str
    number: int | None

    @classmethod
    def of(cls, text: str) -> "Sought":
        """``7`` and ``#7`` are the number 7."""
        bare = text.strip()
        match = _NUMBER.fullmatch(bare)
        number = int(match[1]) if match else None
        return cls(bare, number if number is not None and 0 < number <= MAX_ID else None)


Finder = Callable[[Sought], Iterable[Match]]
_finders: list[tuple[Callable[[], frozenset[Role]], Finder]] = []


def finds(finder: Finder, viewers: Callable[[], frozenset[Role]]) -> None:
    """Register what a service can find. Called when its app is ready.

    ``finder`` compares only with columns that have an index. It is not called for somebody who has none of the roles
    that ``viewers`` returns.
    """
    if (viewers, finder) not in _finders:
        _finders.append((viewers, finder))


def admin_viewers(app: str) -> Callable[[], frozenset[Role]]:
    """The roles that may see an app's pages in the admin, for `finds`."""
    return lambda: viewers_of_pages(app)


def route_viewers(route: str) -> Callable[[], frozenset[Role]]:
    """The roles that may GET a route, for `finds`."""
    return lambda: viewers_of(route)


def admin_page(row: Model) -> str:
    """The path of a row's page in the admin."""
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def find_here(text: str, roles: frozenset[Role]) -> list[Match]:
    """What this service has by exactly this text, and somebody with these roles may see."""
    sought = Sought.of(text)
    if not sought.text:
        return []
    found = [match for viewers, find in (*_finders, *_common()) if roles & viewers() for match in find(sought)]
    return list(dict.fromkeys(found))


def _common() -> Iterator[tuple[Callable[[], frozenset[Role]], Finder]]:
    yield admin_viewers("platform_core"), _keys
    if apps.is_installed("platform_core.events"):
        yield admin_viewers("events"), _events
    if apps.is_installed("platform_core.outbox"):
        yield admin_viewers("outbox"), _messages


def _keys(sought: Sought) -> Iterator[Match]:
    for row in IdempotencyKey.objects.filter(key=sought.text).defer("body", "fingerprint").order_by()[:MOST]:
        detail = f"{row.request or 'a request'} of {row.caller}: answered with {row.status}"
        yield Match("idempotency key", f"Idempotency key {row.key}", detail, admin_page(row))


def _events(sought: Sought) -> Iterator[Match]:
    from platform_core.events.models import Event

    yield from _list("events", "Events", Event.objects.filter(request_id=sought.text), sought)


def _messages(sought: Sought) -> Iterator[Match]:
    from platform_core.outbox.models import OutboxMessage

    rows = OutboxMessage.objects.filter(request_id=sought.text)
    yield from _list("messages", "Messages to other services", rows, sought)
    rows = OutboxMessage.objects.filter(key=sought.text)
    yield from _list("messages", "Messages to other services", rows, sought)


def _list(kind: str, title: str, rows: QuerySet[Any], sought: Sought) -> Iterator[Match]:
    """A link to the admin's list of these rows, if there are any."""
    count = len(rows.order_by().values_list("pk")[: MOST + 1])
    if count:
        meta = rows.model._meta
        path = reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist")
        shown = f"{count}" if count <= MOST else f"more than {MOST}"
        yield Match(kind, title, f"{shown} by this text", f"{path}?{urlencode({'q': sought.text})}", is_record=True)
