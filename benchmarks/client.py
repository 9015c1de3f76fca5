"""The client: a closed loop over keep-alive connections in one thread with raw sockets.

It runs on the measured machine, so it does as little as possible: requests are ready-made bytes, and of a response it
only reads the status line and the length of the body.
"""

import gc
import json
import select
import socket
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

TIMEOUT = 30.0
RENEWED_AFTER = 100
"""Requests after which a connection is replaced. The kernel distributes connections to workers at random, and the
first distribution must not decide the whole measurement."""
ENOUGH = 3
"""Minimum number of responses per connection for a valid measurement."""
_HEAD_END = b"\r\n\r\n"


class UnexpectedAnswer(Exception):
    """The server gave an unexpected response. The message shows it."""


@dataclass(slots=True)
class Sample:
    """The ``latencies`` of all responses in seconds. ``in_time`` of them arrived within ``seconds``."""

    seconds: float
    in_time: int
    latencies: list[float]


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    left: int = RENEWED_AFTER
    began: float = 0.0
    received: bytes = b""


@dataclass(slots=True)
class Client:
    """Sends ``requests`` to ``port``. Each of ``connections`` sends the next request after the response.

    ``tolerated`` are statuses that do not end the measurement; ``statuses`` counts all.
    """

    port: int
    connections: int
    expected: int
    requests: Iterator[bytes]
    tolerated: Collection[int] = ()
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    in_time: int = 0
    until: float = 0.0
    left: int = 0
    enough: int = 0
    poll: select.epoll = field(init=False)
    open_ones: dict[int, _Connection] = field(default_factory=dict)

    def warm_up(self, seconds: float, most: int) -> Sample:
        """Runs until the time is over or the given number of requests is sent. Raises UnexpectedAnswer."""
        return self._run(seconds, most, enough=0)

    def measure(self, seconds: float) -> Sample:
        """Runs until the time is over and there are `ENOUGH` responses. Raises UnexpectedAnswer."""
        return self._run(seconds, most=10**9, enough=ENOUGH * self.connections)

    def _run(self, seconds: float, most: int, enough: int) -> Sample:
        gc.collect()
        gc.disable()
        self.poll = select.epoll()
        self.latencies, self.in_time, self.left, self.enough = [], 0, most, enough
        began = time.perf_counter()
        self.until = began + seconds
        try:
            last = self._loop()
        finally:
            gc.enable()
            self.poll.close()
            while self.open_ones:
                self.open_ones.popitem()[1].socket.close()
        return Sample(min(self.until, last) - began, self.in_time, self.latencies)

    def _loop(self) -> float:
        """The time of the last response."""
        for _ in range(self.connections):
            self._open()
        last = 0.0
        while self.open_ones:
            ready = self.poll.poll(TIMEOUT)
            if not ready:
                raise UnexpectedAnswer(f"no answer within {TIMEOUT:g} s")
            for number, _ in ready:
                connection = self.open_ones[number]
                stays = self._receive(connection)
                if stays is not None:
                    last = time.perf_counter()
                    self._go_on(connection, last, stays)
        return last

    def _open(self) -> None:
        connection = _Connection(_connected(self.port))
        self.open_ones[connection.socket.fileno()] = connection
        self.poll.register(connection.socket, select.EPOLLIN)
        self._send(connection)

    def _close(self, connection: _Connection) -> None:
        self.poll.unregister(connection.socket)
        del self.open_ones[connection.socket.fileno()]
        connection.socket.close()

    def _go_on(self, connection: _Connection, now: float, stays: bool) -> None:
        """Sends the next request after a response, if any is left."""
        self.latencies.append(now - connection.began)
        if now > self.until and len(self.latencies) <= self.enough:
            self.until = now
        self.in_time += now <= self.until
        if (now >= self.until and len(self.latencies) >= self.enough) or self.left <= 0:
            self._close(connection)
        elif stays and connection.left:
            self._send(connection)
        else:
            self._close(connection)
            self._open()

    def _send(self, connection: _Connection) -> None:
        request = next(self.requests)
        self.left -= 1
        connection.left -= 1
        connection.began = time.perf_counter()
        connection.socket.sendall(request)

    def _receive(self, connection: _Connection) -> bool | None:
        """Whether the connection stays open after the response. None while the response is incomplete."""
        chunk = connection.socket.recv(262_144)
        if not chunk:
            raise UnexpectedAnswer(f"the connection was closed after {connection.received[:2000]!r}")
        received = connection.received + chunk if connection.received else chunk
        answer = _parse(received)
        if answer is None:
            connection.received = received
            return None
        connection.received = b""
        if answer.status != self.expected and answer.status not in self.tolerated:
            raise UnexpectedAnswer(_shown(answer.status, self.expected, received))
        self.statuses[answer.status] += 1
        return answer.stays


@dataclass(slots=True)
class Answer:
    """A response. ``head`` is in lower case; ``stays`` says whether the server keeps the connection open."""

    status: int
    head: bytes
    body: bytes
    stays: bool

    def json(self) -> Any:
        """Raises ValueError."""
        return json.loads(self.body)


def ask(port: int, request: bytes, expected: int) -> Answer:
    """Sends one request on a new connection. Raises UnexpectedAnswer if the status differs."""
    received = b""
    with _connected(port) as connection:
        connection.settimeout(TIMEOUT)
        connection.sendall(request)
        while (answer := _parse(received)) is None:
            chunk = connection.recv(262_144)
            if not chunk:
                raise UnexpectedAnswer(f"the connection was closed after {received[:2000]!r}")
            received += chunk
    if answer.status != expected:
        raise UnexpectedAnswer(_shown(answer.status, expected, received))
    return answer


def _connected(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def _parse(received: bytes) -> Answer | None:
    """The response, if it is complete."""
    end = received.find(_HEAD_END)
    if end < 0:
        return None
    head, start = received[: end + 2].lower(), end + 4
    status, stays = int(head[9:12]), b"\r\nconnection: close" not in head
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        length = int(head[at + 17 : head.find(b"\r\n", at + 17)])
        return Answer(status, head, received[start:], stays) if len(received) >= start + length else None
    if b"\r\ntransfer-encoding: chunked" not in head:
        return Answer(status, head, b"", stays)
    body = _dechunked(received, start)
    return None if body is None else Answer(status, head, body, stays)


def _dechunked(received: bytes, at: int) -> bytes | None:
    """Decodes the chunked body from ``at`` on. None if the last chunk is missing."""
    parts: list[bytes] = []
    while (line := received.find(b"\r\n", at)) >= 0:
        size = int(received[at:line].partition(b";")[0], 16)
        if not size:
            return b"".join(parts) if received.endswith(_HEAD_END) else None
        at = line + 2 + size + 2
        if len(received) < at:
            return None
        parts.append(received[line + 2 : at - 2])
    return None


def _shown(status: int, expected: int, received: bytes) -> str:
    return f"expected {expected}, got {status}: {received.decode(errors='replace')[:4000]}"
