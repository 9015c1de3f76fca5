"""One POST to an address that somebody else has chosen: bounded, without redirects and proxies, to public hosts only.

Each POST has its own handle of libcurl, because a reused connection would not be checked again.
"""

import os
import socket
from collections.abc import Mapping
from typing import Any

import pycurl
from certifi import where
from django.conf import settings

from notification_svc.webhooks.targets import is_public, must_be_public
from platform_core import __version__
from platform_core.outbox import DestinationUnreachable

ATTEMPT_SECONDS = 10.0
"""The bound of a whole attempt: name resolution, connection, TLS, request, and answer."""
CONNECT_SECONDS = 5.0
MAX_ANSWER = 64 * 1024
"""How many bytes of an answer's body are read at most. They are dropped; only the status counts."""
_QUICK_EXIT = 322
"""CURLOPT_QUICK_EXIT, which pycurl does not name. Without it, freeing a handle waits for a slow name server."""
_BUSY = (408, 429, 502, 503, 504)
"""Statuses that say that the endpoint takes no messages for now."""


class NotAccepted(OSError):
    """The endpoint has answered, but not with a 2xx."""


def post(url: str, body: bytes, headers: Mapping[str, str]) -> None:
    """POST a CloudEvent. Returns if the answer is a 2xx.

    Raises NotAccepted for any other status, and DestinationUnreachable if there is no answer, if the endpoint is busy,
    or if the URL leads to an address that is not allowed. The errors contain no part of the URL or of the answer.
    """
    exchange = _Exchange()
    curl = pycurl.Curl()
    try:
        for option, value in _options(url, body, headers, exchange).items():
            curl.setopt(option, value)
        status = exchange.perform(curl)
    finally:
        curl.close()
    if status in _BUSY:
        raise DestinationUnreachable(f"The endpoint answered {status}.")
    if not 200 <= status < 300:
        hint = " Redirects are not followed." if 300 <= status < 400 else ""
        raise NotAccepted(f"The endpoint answered {status}.{hint}")


class _Exchange:
    """The callbacks of one exchange."""

    def __init__(self) -> None:
        self.only_public = must_be_public()
        self.was_refused = False
        self._received = 0

    def open_socket(self, purpose: int, address: Any) -> Any:
        """Called by libcurl with each address that it is about to connect to."""
        if self.only_public and not is_public(address.addr[0]):
            self.was_refused = True
            return pycurl.SOCKET_BAD
        return socket.socket(address.family, address.socktype, address.protocol)

    def receive(self, chunk: bytes) -> int | None:
        """Drops the body. Ends the exchange (0 is not the length of the chunk) if there is too much of it."""
        self._received += len(chunk)
        return 0 if self._received > MAX_ANSWER else None

    def perform(self, curl: Any) -> int:
        """The status. Raises DestinationUnreachable."""
        try:
            curl.perform()
        except pycurl.error as error:
            if error.args[0] != pycurl.E_WRITE_ERROR or self._received <= MAX_ANSWER:
                raise DestinationUnreachable(self._reason(error.args[0])) from None
        return int(curl.getinfo(pycurl.RESPONSE_CODE))

    def _reason(self, code: int) -> str:
        if self.was_refused:
            return "The URL leads to an address that is not public."
        return _REASONS.get(code, f"The exchange with the endpoint failed (libcurl error {code}).")


_REASONS = {
    pycurl.E_UNSUPPORTED_PROTOCOL: "The URL or the answer has a protocol that is not supported.",
    pycurl.E_COULDNT_RESOLVE_HOST: "The host of the URL is not known.",
    pycurl.E_COULDNT_CONNECT: "The endpoint takes no connections.",
    pycurl.E_OPERATION_TIMEDOUT: "The endpoint did not answer in time.",
    pycurl.E_PEER_FAILED_VERIFICATION: "The certificate of the endpoint is not valid.",
    pycurl.E_SSL_CONNECT_ERROR: "No TLS connection to the endpoint could be made.",
    pycurl.E_GOT_NOTHING: "The endpoint closed the connection without an answer.",
    pycurl.E_RECV_ERROR: "The endpoint broke the connection.",
    pycurl.E_SEND_ERROR: "The endpoint broke the connection.",
}


def _options(url: str, body: bytes, headers: Mapping[str, str], exchange: _Exchange) -> dict[int, Any]:
    protocols = pycurl.PROTO_HTTPS if exchange.only_public else pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS
    sent = {
        "Content-Type": "application/cloudevents+json; charset=utf-8",
        "User-Agent": f"{settings.SERVICE.name}/{__version__}",
        **headers,
    }
    return {
        pycurl.NOSIGNAL: 1,
        _QUICK_EXIT: 1,
        pycurl.URL: url.encode(),
        pycurl.PROTOCOLS: protocols,
        pycurl.PROXY: "",  # also ignores the proxy variables of the environment
        pycurl.FOLLOWLOCATION: 0,
        pycurl.FRESH_CONNECT: 1,
        pycurl.FORBID_REUSE: 1,
        pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,
        pycurl.CAINFO: os.fsencode(where()),
        pycurl.TIMEOUT_MS: int(ATTEMPT_SECONDS * 1000),
        pycurl.CONNECTTIMEOUT_MS: int(CONNECT_SECONDS * 1000),
        pycurl.OPENSOCKETFUNCTION: exchange.open_socket,
        pycurl.WRITEFUNCTION: exchange.receive,
        pycurl.HTTPHEADER: [*(f"{name}: {value}" for name, value in sent.items()), "Accept:", "Expect:"],
        pycurl.POSTFIELDS: body,
    }
