"""Throttles attempts. They are counted in Postgres, so limits hold across processes and restarts."""

import hashlib
import hmac
import ipaddress
import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection
from django.http import HttpRequest

from platform_core.http.errors import Throttled, Unavailable

# Each attempt adds at most three rows and deletes up to ten expired ones, so the table does not grow without limit.
_COUNT = """
    WITH over AS (
        DELETE FROM platform_core_throttle WHERE key IN (
            SELECT key FROM platform_core_throttle
            WHERE resets_at < clock_timestamp() AND key <> ALL (%(keys)s)
            ORDER BY resets_at LIMIT 10 FOR UPDATE SKIP LOCKED
        )
    )
    INSERT INTO platform_core_throttle AS t (key, count, resets_at)
    SELECT key, 1, clock_timestamp() + seconds * interval '1 second'
    FROM unnest(%(keys)s::text[], %(seconds)s::int[]) AS wanted (key, seconds) ORDER BY key
    ON CONFLICT (key) DO UPDATE SET
        count = CASE WHEN t.resets_at <= clock_timestamp() THEN 1 ELSE least(t.count + 1, 1000000) END,
        resets_at = CASE WHEN t.resets_at <= clock_timestamp() THEN excluded.resets_at ELSE t.resets_at END
    RETURNING key, count, extract(epoch FROM resets_at - clock_timestamp())
"""
_WITH_PORT = re.compile(r"\[(?P<six>[^\]]*)\](:[0-9]{1,5})?|(?P<four>[0-9.]+):[0-9]{1,5}", re.ASCII)
_GIVE_BACK = "UPDATE platform_core_throttle SET count = greatest(count - 1, 0) WHERE key = ANY(%s)"


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``most`` attempts within ``seconds`` for one ``what``, such as an address. Only its HMAC is stored."""

    name: str
    what: str
    most: int
    seconds: int

    @property
    def key(self) -> str:
        """The HMAC under which attempts are counted."""
        text = f"throttle\0{self.name}\0{self.what}".encode()
        return hmac.new(settings.SECRET_KEY.encode(), text, hashlib.sha256).hexdigest()


def attempts(name: str, account: str, address: str) -> list[Limit]:
    """The limits against password guessing.

    An account from one address has a low limit. An account from all addresses together has a higher one, because
    otherwise anybody could lock the owner out.
    """
    quarter = 15 * 60
    account = unicodedata.normalize("NFKC", account.strip()).casefold()
    return [
        Limit(f"{name}:account+address", f"{account}\0{address}", 10, quarter),
        Limit(f"{name}:account", account, 100, quarter),
        Limit(f"{name}:address", address, 100, quarter),
    ]


def count(limits: Sequence[Limit]) -> None:
    """Count an attempt. Raises Throttled if a limit is exceeded; such attempts count, too.

    Call it before the work, so that concurrent attempts count, and outside any transaction that may be rolled back.
    The time of a limit runs from its first attempt.
    """
    by_key = {limit.key: limit for limit in limits}
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, {"keys": list(by_key), "seconds": [limit.seconds for limit in by_key.values()]})
        waits = [left for key, times, left in cursor.fetchall() if times > by_key[key].most]
    if waits:
        raise Throttled(float(max(waits)))


@contextmanager
def counted(limits: Sequence[Limit]) -> Iterator[None]:
    """Count the attempt that the block makes, unless the block raises Unavailable: then nothing was guessed.

    Raises Throttled.
    """
    count(limits)
    try:
        yield
    except Unavailable:
        give_back(limits)
        raise


def give_back(limits: Sequence[Limit]) -> None:
    """Undo `count` for an attempt that succeeded."""
    with connection.cursor() as cursor:
        cursor.execute(_GIVE_BACK, [[limit.key for limit in limits]])


def address_of(request: HttpRequest | Any) -> str:
    """The client's address, for limits. For IPv6 it is the /64 network, because one host usually has all of it.

    Behind NUM_PROXIES proxies it is the entry of X-Forwarded-For at that position from the end.
    """
    peer = str(request.META.get("REMOTE_ADDR", ""))
    noted = [part.strip() for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if part.strip()]
    claimed = noted[-min(settings.NUM_PROXIES, len(noted))] if noted and settings.NUM_PROXIES else ""
    # What is no address must not count as a new one each time, so the peer's stands in for it.
    parsed = _parsed(claimed) or _parsed(peer)
    if parsed is None:
        return peer[:64]
    if parsed.version == 4:
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address in ``192.0.2.1``, ``192.0.2.1:443``, ``2001:db8::1`` or ``[2001:db8::1]:443``, quoted or not."""
    text = text.strip('"')
    if found := _WITH_PORT.fullmatch(text):
        text = found["six"] or found["four"]
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
