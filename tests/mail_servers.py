"""A real SMTP server in threads. It can be slow at any command, defer and refuse, and it notes what it is told."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

ACCEPTED = {
    "greeting": "220 mail.example ESMTP",
    "EHLO": "250-mail.example\r\n250 SIZE 1000000",
    "DATA": "354 Go ahead",
    "QUIT": "221 Bye",
}


@dataclass
class MailServer:
    """``replies`` by command replace the usual ones; a callable gets the command's line and may return None for those.

    ``delays`` are seconds before a reply, by command; ``"."`` is the end of a mail, and ``"*"`` is any command.
    ``closes_after`` ends a connection after so many mails; ``drops_at`` ends it instead of a reply to a command.
    """

    replies: dict[str, str | Callable[[str], str | None]] = field(default_factory=dict)
    delays: dict[str, float] = field(default_factory=dict)
    host: str = "127.0.0.1"
    closes_after: int | None = None
    drops_at: str | None = None
    mails: list[tuple[str, bytes]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._listener = socket.create_server((self.host, 0))
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def recipients(self) -> list[str]:
        """The recipients of the accepted mails, in the order of acceptance."""
        return [recipient for recipient, _ in self.mails]

    def drop_connections(self) -> None:
        """Close all connections without a word."""
        with self._lock:
            for sock in self._open:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_connections()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.add(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            with sock, sock.makefile("rb") as stream:
                self._converse(sock, stream)
        except OSError:
            pass
        finally:
            with self._lock:
                self._open.discard(sock)

    def _converse(self, sock: socket.socket, stream: Any) -> None:
        recipient, taken = "", 0
        if not self._reply(sock, "greeting", ""):
            return
        while line := stream.readline().decode().strip():
            command = line.partition(" ")[0].upper()
            with self._lock:
                self.commands.append(command)
            if command == "RCPT":
                recipient = line[line.find("<") + 1 : line.find(">")]
            if not self._reply(sock, command, line) or command == "QUIT":
                return
            if command == "DATA" and self._answer("DATA", line).startswith("354"):
                content = self._content(stream)
                if not self._reply(sock, ".", recipient, before=lambda r=recipient, c=content: self._take(r, c)):
                    return
                taken += 1
                if taken == self.closes_after:
                    return

    def _content(self, stream: Any) -> bytes:
        lines = []
        while (line := stream.readline()) not in (b".\r\n", b""):
            lines.append(line)
        return b"".join(lines)

    def _take(self, recipient: str, content: bytes) -> None:
        with self._lock:
            self.mails.append((recipient, content))

    def _answer(self, command: str, line: str) -> str:
        given = self.replies.get(command)
        text = given(line) if callable(given) else given
        return text or ACCEPTED.get(command, "250 OK")

    def _reply(self, sock: socket.socket, command: str, line: str, before: Callable[[], None] = lambda: None) -> bool:
        """Waits and replies. False if the conversation has ended. ``before`` runs if the reply accepts."""
        if self._closing.wait(self.delays.get(command, self.delays.get("*", 0.0))) or self.drops_at == command:
            return False
        answer = self._answer(command, line)
        if answer.startswith("2"):
            before()
        sock.sendall(f"{answer}\r\n".encode())
        return not answer.startswith("421")


@contextmanager
def serving_mail(**options: Any) -> Iterator[MailServer]:
    server = MailServer(**options)
    try:
        yield server
    finally:
        server.close()
