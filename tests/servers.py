"""A real HTTP server in a thread. Tests script its responses and faults."""

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Received:
    """One request. ``connection`` counts the connections that the server has taken."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """The connection for a response. ``patient`` waits and returns whether the client is still connected."""

    def __init__(self, sock: socket.socket, closing: threading.Event) -> None:
        self.sock = sock
        self.closing = closing

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def patient(self, seconds: float) -> bool:
        return not self.closing.wait(seconds)

    def reset(self) -> None:
        """Closes with a RST, as the host of a killed process does."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Answering = Callable[[Wire, Received], bool | None]
"""Answers one request; True when the connection stays open for the next."""


def answers(
    body: Any = None, status: int = 200, headers: Mapping[str, str] | None = None, *, keep_alive: bool = True
) -> Answering:
    """A valid response. ``body`` is bytes, or is encoded as JSON."""
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = {"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})}
    head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"

    def answer(wire: Wire, request: Received) -> bool:
        wire.send(head.encode() + content)
        return keep_alive

    return answer


def says(raw: bytes) -> Answering:
    """Sends raw bytes and closes the connection."""

    def answer(wire: Wire, request: Received) -> None:
        wire.send(raw)

    return answer


def trickles(head: bytes, drop: bytes, count: int, tail: bytes = b"", pause: float = 0.05) -> Answering:
    """Sends ``head`` at once and then ``count`` small pieces, so that each piece is in time but the whole is late."""

    def answer(wire: Wire, request: Received) -> None:
        wire.send(head)
        for _ in range(count):
            if not wire.patient(pause):
                return
            wire.send(drop)
        wire.send(tail)

    return answer


def keeps_silent(wire: Wire, request: Received) -> None:
    while wire.patient(1.0):
        pass


def hangs_up(wire: Wire, request: Received) -> None:
    """Closes the connection before the first byte of a response."""


def resets(wire: Wire, request: Received) -> None:
    wire.reset()


@dataclass
class Server:
    """Each entry of ``script`` answers one request; the last entry answers all further ones.

    ``dawdle`` is the pause in seconds between reading headers and body. ``tls`` enables TLS.
    """

    script: list[Answering] = field(default_factory=lambda: [answers({})])
    dawdle: float = 0.0
    tls: ssl.SSLContext | None = None
    listener: socket.socket | None = None
    requests: list[Received] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._listener = self.listener or socket.create_server(("127.0.0.1", 0))
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def will(self, *script: Answering) -> "Server":
        self.script = list(script)
        return self

    def drop_connections(self) -> None:
        """Closes kept-alive connections, as a restarting server does."""
        with self._lock:
            for sock in self._open:
                _shut(sock)

    @property
    def open_connections(self) -> int:
        return len(self._open)

    def stop_listening(self) -> None:
        """Refuses new connections and keeps open ones."""
        _shut(self._listener)
        self._listener.close()

    def close(self) -> None:
        self._closing.set()
        self.stop_listening()
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
                number = self.connections
            threading.Thread(target=self._serve, args=(sock, number), daemon=True).start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        try:
            if self.tls:
                sock = self._secured(self.tls, sock)
            with sock, sock.makefile("rb") as stream:
                while request := self._read(stream, number):
                    with self._lock:
                        answering = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                        self.requests.append(request)
                    if not answering(Wire(sock, self._closing), request):
                        return
        except OSError:
            pass
        finally:
            with self._lock:
                self._open.discard(sock)

    def _secured(self, tls: ssl.SSLContext, sock: socket.socket) -> socket.socket:
        with self._lock:
            self._open.discard(sock)
        secured = tls.wrap_socket(sock, server_side=True)
        with self._lock:
            self._open.add(secured)
        return secured

    def _read(self, stream: Any, number: int) -> Received | None:
        line = stream.readline().decode()
        if not line.strip():
            return None
        method, path, _ = line.split(" ", 2)
        headers = {}
        while text := stream.readline().decode().strip():
            name, _, value = text.partition(":")
            headers[name.strip()] = value.strip()
        self._closing.wait(self.dawdle)
        return Received(method, path, headers, stream.read(int(headers.get("Content-Length", 0))), number)


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


@contextmanager
def serving(**options: Any) -> Iterator[Server]:
    server = Server(**options)
    try:
        yield server
    finally:
        server.close()


def refused_url() -> str:
    """A URL without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def frozen(address: tuple[str, int]) -> ExitStack:
    """A socket with a full backlog. Connects get no answer, as behind a firewall that drops packets."""
    resources = ExitStack()
    listener = resources.enter_context(socket.socket())
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen(0)
    for _ in range(4):
        waiting = resources.enter_context(socket.socket())
        waiting.setblocking(False)
        waiting.connect_ex(listener.getsockname())
    return resources
