"""Throttles attempts. They are counted in Postgres, so limits hold across processes and restarts."""

import hashlib
import hmac
import ipaddress
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection
from django.http import HttpRequest

from platform_core.http import context
from platform_core.http.errors import Throttled, Unavailable
from platform_core.http.rate_limits import Allowance

# Each attempt adds at most three rows and deletes up to ten expired ones, so the table does not grow without limit.
_ADD = """
    WITH over AS (
        DELETE FROM platform_core_throttle WHERE key IN (
            SELECT key FROM platform_core_throttle
            WHERE resets_at < clock_timestamp() AND key <> ALL (%(keys)s)
            ORDER BY resets_at LIMIT 10 FOR UPDATE SKIP LOCKED
        )
    )
    INSERT INTO platform_core_throttle AS t (key, count, resets_at)
    SELECT key, times, clock_timestamp() + seconds * interval '1 second'
    FROM unnest(%(keys)s::text[], %(times)s::int[], %(seconds)s::int[]) AS wanted (key, times, seconds) ORDER BY key
    ON CONFLICT (key) DO UPDATE SET
        count = CASE WHEN t.resets_at <= clock_timestamp() THEN excluded.count
                     ELSE least(t.count::bigint + excluded.count, 2000000000) END,
        resets_at = CASE WHEN t.resets_at <= clock_timestamp() THEN excluded.resets_at ELSE t.resets_at END
    RETURNING key, count, extract(epoch FROM resets_at - clock_timestamp())
"""
_WITH_PORT = re.compile(r"\[(?P<six>[^\]]*)\](:[0-9]{1,5})?|(?P<four>[0-9.]+):[0-9]{1,5}", re.ASCII)
_GIVE_BACK = """
    UPDATE platform_core_throttle SET count = greatest(count - 1, 0) WHERE key = ANY(%s)
    RETURNING key, count, extract(epoch FROM resets_at - clock_timestamp())
"""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``most`` attempts within ``seconds`` for one ``what``, such as an address. Only its HMAC is stored."""

    name: str
    what: str
    most: int
    seconds: int
    is_shown: bool = True
    """Whether the answers' headers say what is left. Not for what others do: it would tell strangers about them."""

    @property
    def key(self) -> str:
        """The HMAC under which attempts are counted."""
        text = f"throttle\0{self.name}\0{self.what}".encode()
        return hmac.new(settings.SECRET_KEY.encode(), text, hashlib.sha256).hexdigest()


class Window(NamedTuple):
    """``times`` attempts so far; the count begins again in ``seconds``."""

    times: int
    seconds: float


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
    windows = add(dict.fromkeys(limits, 1))
    _show(windows)
    waits = [window.seconds for limit, window in windows.items() if window.times > limit.most]
    if waits:
        raise Throttled(max(waits))


def add(times: Mapping[Limit, int]) -> dict[Limit, Window]:
    """Count several attempts under each limit with one statement. Returns the present windows."""
    by_key = {limit.key: limit for limit in times}
    values: dict[str, Any] = {
        "keys": list(by_key),
        "times": list(times.values()),
        "seconds": [limit.seconds for limit in by_key.values()],
    }
    with connection.cursor() as cursor:
        cursor.execute(_ADD, values)
        return _windows(by_key, cursor.fetchall())


def _windows(by_key: Mapping[str, Limit], rows: Iterable[tuple[str, int, Decimal]]) -> dict[Limit, Window]:
    return {by_key[key]: Window(found, float(left)) for key, found, left in rows}


def _show(windows: Mapping[Limit, Window]) -> None:
    for limit, window in ((limit, window) for limit, window in windows.items() if limit.is_shown):
        left = max(limit.most - window.times, 0)
        context.note_allowance(Allowance(limit.name, limit.most, limit.seconds, left, window.seconds))


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
    by_key = {limit.key: limit for limit in limits}
    with connection.cursor() as cursor:
        cursor.execute(_GIVE_BACK, [list(by_key)])
        _show(_windows(by_key, cursor.fetchall()))


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


@lru_cache(1024)
def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address in ``192.0.2.1``, ``192.0.2.1:443``, ``2001:db8::1`` or ``[2001:db8::1]:443``, quoted or not."""
    text = text.strip('"')
    if found := _WITH_PORT.fullmatch(text):
        text = found["six"] or found["four"]
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
