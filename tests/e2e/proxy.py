"""A proxy between services that loses and delays answers *after* the peer did its work."""

import http.client
import random
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from platform_core.topology import SERVICES, Service
from tests.e2e.stack import Stack

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "server", "date"}


@dataclass(slots=True)
class Faults:
    """The shares (0 to 1) of lost and delayed responses, and the delays in seconds. They can change at run time."""

    drop: float = 0.0
    delay: float = 0.0
    shortest: float = 0.0
    longest: float = 0.0
    dropped: int = 0
    delayed: int = 0

    def clear(self) -> None:
        self.drop = self.delay = self.shortest = 0.0


class Proxy:
    """Forwards ``port`` to ``target`` and applies ``faults`` to the responses."""

    def __init__(self, target: int, faults: Faults, seed: int) -> None:
        self.faults = faults
        self.reachable = threading.Event()
        self.reachable.set()
        self._random = random.Random(seed)
        handler = type("Handler", (_Handler,), {"target": target, "proxy": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._server.reachable = self.reachable
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    def __enter__(self) -> "Proxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def black_holed(self) -> Iterator[None]:
        """Meanwhile nothing answers at the proxy's address: connections are not even refused."""
        self.reachable.clear()
        self._server.socket.listen(0)
        try:
            yield
        finally:
            self._server.socket.listen(_Server.request_queue_size)
            self.reachable.set()

    def spoils(self) -> bool:
        """Delays the response if due. Returns whether it is lost."""
        if self._random.random() < self.faults.delay:
            self.faults.delayed += 1
            time.sleep(self._random.uniform(self.faults.shortest, self.faults.longest))
        if self._random.random() < self.faults.drop:
            self.faults.dropped += 1
            return True
        return False


class ProxiedStack(Stack):
    """Clients call the services themselves; the services call each other through proxies with ``faults``."""

    def __init__(self, folder: Path, resources: ExitStack, *, faults: Mapping[Service, Faults], seed: int = 0) -> None:
        super().__init__(folder)
        self.listening = self.ports
        self.proxies = {
            service: resources.enter_context(Proxy(self.listening[service.package], faults[service], seed + number))
            for number, service in enumerate(SERVICES)
        }
        self.ports = {service.package: proxy.port for service, proxy in self.proxies.items()}

    @property
    def environment(self) -> dict[str, str]:
        ports = {service.listen_port_variable: str(self.listening[service.package]) for service in SERVICES}
        return {**super().environment, **ports}

    def direct(self, service: Service, path: str = "") -> str:
        return f"http://127.0.0.1:{self.listening[service.package]}{path}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    reachable: threading.Event

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection, unless the address is black-holed: then those that wait stay where they are."""
        self.reachable.wait(60)
        return super().get_request()

    def handle_error(self, request: object, client_address: object) -> None:
        """Broken connections are expected."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60
    target: int
    proxy: Proxy

    def forward(self) -> None:
        if not self.proxy.reachable.is_set():  # on a connection that was open before
            self.proxy.reachable.wait(60)
            self.close_connection = True
            return
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        connection = http.client.HTTPConnection("127.0.0.1", self.target, timeout=35)
        try:
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            self.close_connection = True  # as the peer would have it: no answer, a broken connection
            return
        finally:
            connection.close()
        if self.proxy.spoils():
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = forward

    def log_message(self, *_: object) -> None:
        """Disables the log."""
