"""Django's SMTP backend with a bound for each wait, and with one connection per thread for many mails.

The bounds are those of RFC 5321, section 4.5.3.2. A wait also ends with the deadline of the context
(`platform_core.http.context`). A mail is never sent again by reconnecting: a kept connection is tested by RSET
before it is used, and replaced if the server has closed it.
"""

import smtplib
import threading
import time
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.mail.backends import smtp

from platform_core.http import context
from platform_core.outbox.leases import LeaseLost, check_lease

CONNECT_SECONDS = 30.0
DATA_SECONDS = 120.0
"""The wait for the reply to DATA, before the mail itself is sent."""
BLOCK_SECONDS = 180.0
"""The time to send the mail itself."""
COURTESY_SECONDS = 10.0
"""The wait for the replies to RSET and QUIT, on which nothing depends."""
KEPT_SECONDS = 60.0
"""How long an idle connection is kept. Servers close idle ones after some minutes."""
_local = threading.local()


class _Session(smtplib.SMTP):
    """An SMTP connection whose replies have a time limit as a whole, however slowly they trickle in."""

    _command = "connecting"
    _limit = COURTESY_SECONDS
    _until = 0.0

    def __init__(self, host: str, port: int, **options: Any) -> None:
        self._limit = self.timeout_of_replies
        self._until = time.monotonic() + min(self._limit, CONNECT_SECONDS)
        super().__init__(host, port, **{**options, "timeout": self.time_left()})

    def putcmd(self, cmd: str, args: str = "") -> None:
        self._command = cmd.upper()
        limits = {"DATA": DATA_SECONDS, "RSET": COURTESY_SECONDS, "QUIT": COURTESY_SECONDS}
        self._limit = min(self.timeout_of_replies, limits.get(self._command, self.timeout_of_replies))
        super().putcmd(cmd, args)

    @property
    def timeout_of_replies(self) -> float:
        """Seconds for the reply to a command."""
        return float(settings.EMAIL_TIMEOUT or settings.EMAIL_ATTEMPT_SECONDS)

    def send(self, s: Any) -> None:
        """Send a command (str), or the mail itself (bytes). After the latter the server may deliver the mail."""
        is_mail = isinstance(s, bytes)
        if is_mail:
            self._command, self._limit = "the mail", BLOCK_SECONDS
            try:
                check_lease()
            except LeaseLost:
                self.close()  # without the final dot the server drops the mail
                raise
        self._start_clock()
        super().send(s)
        if is_mail:
            self._limit = settings.EMAIL_ACCEPT_SECONDS

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None:
            self.file = _Replies(self)
        self._until = time.monotonic() + self._limit
        return super().getreply()

    def _start_clock(self) -> None:
        self._until = time.monotonic() + self._limit
        if self.sock is not None:
            self.sock.settimeout(self.time_left())

    def receive(self) -> bytes:
        """The next bytes of the reply. Raises TimeoutError when the wait for the whole reply ends."""
        assert self.sock is not None
        self.sock.settimeout(self.time_left())
        try:
            return self.sock.recv(4096)
        except TimeoutError:
            self.time_left()
            raise

    def time_left(self) -> float:
        """Seconds until the present wait ends. Raises TimeoutError."""
        deadline = context.current().deadline
        left = (self._until if deadline is None else min(self._until, deadline)) - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"the mail server did not answer in time ({self._command})")
        return left


class _SecureSession(_Session, smtplib.SMTP_SSL):
    """The same over TLS from the first byte."""


class _Replies:
    """Lines from the server. Each wait for bytes is limited to what is left of the wait for the reply."""

    def __init__(self, session: _Session) -> None:
        self._session = session
        self._bytes = b""

    def readline(self, size: int) -> bytes:
        while b"\n" not in self._bytes and len(self._bytes) < size:
            received = self._session.receive()
            if not received:
                break
            self._bytes += received
        end = min(self._bytes.find(b"\n") + 1 or len(self._bytes), size)
        line, self._bytes = self._bytes[:end], self._bytes[end:]
        return line

    def close(self) -> None:
        """Part of a file's interface. The session closes the socket."""


class EmailBackend(smtp.EmailBackend):
    """Django's backend. `close` keeps the connection for the next mail of this thread, and `open` takes it again."""

    @property
    def connection_class(self) -> type[smtplib.SMTP]:
        return _SecureSession if self.use_ssl else _Session

    def open(self) -> bool | None:
        if self.connection is None:
            self.connection = _take(self._server())
            if self.connection is not None:
                return True
        return super().open()

    def close(self) -> None:
        if self.connection is None or self.connection.sock is None:
            super().close()
            return
        close_mail_connection()
        _local.kept = (self._server(), self.connection, time.monotonic())
        self.connection = None

    def _server(self) -> tuple[Any, ...]:
        return self.host, self.port, self.username, self.password, self.use_tls, self.use_ssl, self.ssl_certfile


def _take(server: tuple[Any, ...]) -> smtplib.SMTP | None:
    """The connection that this thread has kept, if it leads to ``server`` and the server still takes commands."""
    known, connection, since = getattr(_local, "kept", None) or (None, None, 0.0)
    if connection is None:
        return None
    if known != server or time.monotonic() - since > KEPT_SECONDS:
        close_mail_connection()
        return None
    _local.kept = None
    try:
        if connection.rset()[0] == 250:
            return connection  # type: ignore[no-any-return]
    except (smtplib.SMTPException, OSError):
        pass
    connection.close()
    return None


def close_mail_connection() -> None:
    """Close the connection that this thread has kept, if any."""
    _, connection, _ = getattr(_local, "kept", None) or (None, None, 0.0)
    _local.kept = None
    if connection is not None:
        with suppress(smtplib.SMTPException, OSError):
            connection.quit()
        connection.close()
