"""A real HTTP server that receives webhooks, and a way to run the deliveries."""

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Received(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Answers with ``status``, after ``seconds``. ``answer`` replaces all of it: it gets the handler of the request."""

    def __init__(self) -> None:
        self.status = 204
        self.seconds = 0.0
        self.received: list[Received] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] = self._answer
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.received.append(Received(self.path, headers, body))
                outer.answer(self)

            def do_GET(self) -> None:
                outer.received.append(Received(self.path, {}, b""))
                outer.answer(self)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        time.sleep(self.seconds)
        handler.send_response(self.status)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def deliver_webhooks(until: Callable[[], bool] | None = None, seconds: float = 20.0) -> None:
    """Run the duty until nothing more is due, or until the condition holds."""
    from notification_svc.webhooks.delivering import new_lanes

    lanes, stopping = new_lanes(), threading.Event()
    deadline = time.monotonic() + seconds
    try:
        while lanes.run(stopping) or (until is not None and not until()):
            assert time.monotonic() < deadline, "the deliveries did not end"
            if until is not None and until():
                break
    finally:
        stopping.set()
        lanes.finish()
