"""Looks up users and products by their names, at the services that keep them."""

import msgspec

from platform_core.clients.engine import call, decoded
from platform_core.topology import PRODUCT, USER


class Named(msgspec.Struct, frozen=True):
    """A user or a product: its id and name."""

    id: str
    name: str


class _Page(msgspec.Struct, frozen=True):
    results: list[Named]


def users_named(text: str, most: int, *, timeout: float) -> list[Named]:
    """The newest ``most`` users whose name or email has words that begin with those of ``text``.

    Raises PeerRefused, PeerUnreachable.
    """
    return _named(USER.name, "/api/users", text, most, timeout)


def products_named(text: str, most: int, *, timeout: float) -> list[Named]:
    """The ``most`` products that fit ``text`` best. Deleted products are not among them.

    Raises PeerRefused, PeerUnreachable.
    """
    return _named(PRODUCT.name, "/api/products", text, most, timeout)


def _named(peer: str, path: str, text: str, most: int, timeout: float) -> list[Named]:
    answer = call(peer, "GET", path, params={"search": text, "limit": most}, timeout=timeout)
    return decoded(peer, answer, _Page).results
