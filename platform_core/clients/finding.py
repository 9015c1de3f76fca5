"""Client of the route of every service that looks up what somebody has typed into the bar."""

from collections.abc import Iterable

import msgspec

from platform_core.clients.engine import call, decoded
from platform_core.vocabulary import Role


class Match(msgspec.Struct, frozen=True, rename="camel"):
    """Something that was found.

    ``path`` is that of its page at the service that has it. ``is_record``: it only says what happened to something
    else, such as an event of an order.
    """

    kind: str
    title: str
    detail: str
    path: str
    is_record: bool = False


class _Matches(msgspec.Struct, frozen=True):
    results: list[Match]


def find_at(peer: str, text: str, roles: Iterable[Role], timeout: float) -> list[Match]:
    """What a service has by exactly this text, and somebody with these roles may see.

    Raises PeerRefused, PeerUnreachable.
    """
    params = {"q": text, "role": sorted(role.value for role in roles)}
    return decoded(peer, call(peer, "GET", "/api/find", params=params, timeout=timeout), _Matches).results
