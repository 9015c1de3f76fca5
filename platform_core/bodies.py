"""Request bodies, taken in whole before the work begins, within the request's deadline.

A client that sends half a body would otherwise hold a thread for as long as it likes, and a body that nobody reads
would break the connection for the next request on it.
"""

from io import BytesIO
from typing import Any

from platform_core.slow_clients import Reading

MAX_BODY_BYTES = 1024 * 1024
MAX_DISCARDED_BYTES = 16 * MAX_BODY_BYTES
"""How much of a body that is too large is still read, so that its sender comes to read the answer."""
LONGEST_LENGTH = 15
"""Digits of a Content-Length that are worth reading as a number."""
LATE = "platform.body_is_late"
SHORT = "platform.body_is_short"


def take_in(environ: dict[str, Any], deadline: float) -> None:
    """Read the body of a WSGI request into memory until ``deadline`` (of ``time.monotonic()``).

    Bodies that come in chunks get a length. One that is too large keeps a length that says so, and is thrown away; one
    that does not come in time is marked with LATE, one that ends too early with SHORT. After these two nobody knows
    where the next request begins, so gunicorn is told to close the connection.
    """
    is_chunked = environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked"
    length = environ.get("CONTENT_LENGTH") or "0"
    is_number = length.isascii() and length.isdigit() and len(length) <= LONGEST_LENGTH
    if not is_chunked and not (is_number and int(length)):
        return
    source = environ["wsgi.input"]
    wanted = MAX_BODY_BYTES + 1 if is_chunked else min(int(length), MAX_BODY_BYTES + 1)
    sock = environ.get("gunicorn.socket")
    reading = Reading(sock, deadline) if sock is not None else None
    body = b""
    try:
        body = source.read(wanted)
        if len(body) > MAX_BODY_BYTES:
            _discard(source, len(body))
    except Exception:
        if reading is None or reading.end():
            raise
        environ[LATE] = True  # a chunk that was cut off
    else:
        environ[LATE] = reading is not None and not reading.end()
    environ[SHORT] = not is_chunked and len(body) < wanted
    if sock is not None and (environ[LATE] or environ[SHORT]):
        source.failed = True
    environ["wsgi.input"] = BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))


def _discard(source: Any, discarded: int) -> None:
    while discarded < MAX_DISCARDED_BYTES and (piece := source.read(65536)):
        discarded += len(piece)
