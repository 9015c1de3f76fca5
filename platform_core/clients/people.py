"""Client of the route that every service but user-service has for what it holds of a person."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from platform_core.clients.engine import call, decoded


class PersonRow(msgspec.Struct, frozen=True):
    """A row of a person: its table, and its columns by name."""

    table: str
    row: dict[str, Any]


class PersonPage(msgspec.Struct, frozen=True):
    """``next`` is the path of the following page; None on the last one."""

    results: list[PersonRow]
    next: str | None


def erase_person_at(peer: str, user_id: int) -> None:
    """Erase what a service holds of a person. Idempotent; only a 204 means success.

    Raises PeerRefused, PeerUnreachable.
    """
    call(peer, "DELETE", f"/api/people/{user_id}", expect=204)


def person_page(peer: str, user_id: int, after: str = "") -> PersonPage:
    """A page of what a service holds of a person. Raises PeerRefused, PeerUnreachable."""
    params = {"after": after} if after else {}
    return decoded(peer, call(peer, "GET", f"/api/people/{user_id}", params=params), PersonPage)


def person_rows(peer: str, user_id: int) -> Iterator[PersonRow]:
    """What a service holds of a person, read page by page. Raises PeerRefused, PeerUnreachable."""
    after: str | None = ""
    while after is not None:
        page = person_page(peer, user_id, after)
        yield from page.results
        after = parse_qs(urlsplit(page.next).query)["after"][0] if page.next else None
