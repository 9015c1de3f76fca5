"""Links from one service's pages to another's."""

from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest

from platform_core.topology import Service


def public_url(service: Service, request: HttpRequest) -> str:
    """Where a browser reaches the service, without a trailing slash: its ``*_PUBLIC_URL`` if that is set.

    Otherwise it is the URL of the peers. In development the host is replaced by the one of the request, because the
    browser may be on another machine, and sessions of ``localhost`` do not hold at ``127.0.0.1``.
    """
    given: str = settings.PUBLIC_URLS[service.name]
    if given:
        return given
    peers = urlsplit(settings.PEER_URLS[service.name])
    if settings.PLATFORM_ENV != "development":
        return peers.geturl()
    host = urlsplit(f"//{request.get_host()}").hostname or ""
    netloc = f"[{host}]" if ":" in host else host
    return peers._replace(netloc=f"{netloc}:{peers.port}" if peers.port else netloc).geturl()


def link(service: Service, path: str, request: HttpRequest) -> str:
    """The address of a page of the service for a browser. ``path`` begins with a slash."""
    return f"{public_url(service, request)}{path}"
