"""A running contender from the client's point of view."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from benchmarks.client import Answer, ask
from benchmarks.contender import Contender, Layout
from benchmarks.seeding import Size


@dataclass(slots=True)
class Site:
    """A running contender and the contents of its database. ``kept`` holds the results of preparations, by work."""

    contender: Contender
    layout: Layout
    headers: Mapping[str, str]
    size: Size
    random: Random
    kept: dict[str, Any] = field(default_factory=dict)

    def encoder(self, service: str, method: str, **headers: str) -> Callable[..., bytes]:
        """``encode(path, body=b"", key="")`` → the bytes of the request."""
        lines = {"Host": f"127.0.0.1:{self.layout.port(service)}", "Accept": "application/json"}
        lines |= {**self.headers, **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        if method == "GET":
            return lambda path: f"GET {path} HTTP/1.1\r\n{head}\r\n".encode()
        head += "Content-Type: application/json\r\n"

        def encode(path: str, body: str, key: str = "") -> bytes:
            once = f"Idempotency-Key: {key}\r\n" if key else ""
            return f"{method} {path} HTTP/1.1\r\n{head}{once}Content-Length: {len(body)}\r\n\r\n{body}".encode()

        return encode

    def ask(self, service: str, request: bytes, expected: int) -> Answer:
        return ask(self.layout.port(service), request, expected)

    def page(self, path: str) -> dict[str, Any]:
        """The path of a page of a list."""
        found = self.ask("order", self.encoder("order", "GET")(path), 200).json()
        assert isinstance(found, dict)
        return found
