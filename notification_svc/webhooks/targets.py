"""Which addresses webhooks may go to. In production only public ones, by HTTPS.

A host name may lead to any address, and to another one at each look-up. So the address itself is checked when a
connection is made (`notification_svc.webhooks.posting`). `problem_of` refuses what is certainly wrong earlier, with a
clear error.
"""

import ipaddress
import socket
from contextlib import suppress
from urllib.parse import urlsplit

from django.conf import settings

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_LOCAL_NAMES = (".localhost", ".local", ".internal", ".home.arpa")


def must_be_public() -> bool:
    """Whether webhooks may go to public addresses only, and by HTTPS only."""
    return bool(settings.PLATFORM_ENV != "development")


def is_public(address: str) -> bool:
    """Whether an IP address belongs to a host on the internet.

    IPv6 addresses that contain one of IPv4 (mapped, compatible, NAT64, 6to4) are as public as that one.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = _inner(ip)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not ip.is_unspecified


def _inner(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if ip in _NAT64 or int(ip) >> 32 == 0:
        return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ip.ipv4_mapped or ip.sixtofour


def problem_of(url: str) -> str | None:
    """What is wrong with the URL of an endpoint; None if nothing is."""
    if not url.isascii() or any(character <= " " or character in '\\"<>^`{|}\x7f' for character in url):
        return "Expected a URL in ASCII: write a host name in its `xn--` form, and encode other characters."
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "Expected a URL such as https://example.com/webhooks."
    if parts.scheme not in ("https", "http") or not host or port == 0:
        return "Expected a URL such as https://example.com/webhooks."
    if parts.username is not None or parts.password is not None or parts.fragment:
        return "A URL with a user, a password or a fragment is not supported."
    return _problem_in_production(parts.scheme, host) if must_be_public() else None


def _problem_in_production(scheme: str, host: str) -> str | None:
    if scheme != "https":
        return "Expected an https URL."
    name = host.rstrip(".").lower()
    address = _literal(name)
    if address is not None:
        return None if is_public(address) else "This address is not public."
    if "." not in name or f".{name}".endswith(_LOCAL_NAMES):
        return "This host is not public."
    return None


def _literal(host: str) -> str | None:
    """The address if the host is one, in any of the forms that resolvers accept (``0x7f.1`` is 127.0.0.1)."""
    with suppress(ValueError):
        return str(ipaddress.ip_address(host.partition("%")[0]))
    with suppress(OSError):
        return socket.inet_ntoa(socket.inet_aton(host))
    return None
