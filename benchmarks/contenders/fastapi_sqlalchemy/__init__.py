"""FastAPI, async SQLAlchemy and httpx under uvicorn: the usual alternative, on the same tables."""

import sys

from benchmarks.contender import SERVICES, Contender, Layout, Process

_MODULES = dict(zip(SERVICES, ("users", "products", "orders", "notifications", "analytics"), strict=True))
_KEEP_ALIVE = "75"
"""In seconds. It is longer than clients keep idle connections."""
_CONNECTIONS = 2
"""Postgres connections of a worker per thread of the other contenders: an event loop has more requests in flight."""


def _processes(layout: Layout) -> list[Process]:
    return [Process(service, _command(layout, service), _environment(layout, service)) for service in SERVICES]


def _command(layout: Layout, service: str) -> list[str]:
    options = {
        "--host": "127.0.0.1",
        "--port": str(layout.port(service)),
        "--workers": str(layout.workers),
        "--loop": "uvloop",
        "--http": "httptools",
        "--timeout-keep-alive": _KEEP_ALIVE,
        "--timeout-worker-healthcheck": "60",
    }
    app = f"{__name__}.{_MODULES[service]}:app"
    return [sys.executable, "-m", "uvicorn", app, *(word for option in options.items() for word in option)]


def _environment(layout: Layout, service: str) -> dict[str, str]:
    peers = {f"{peer.upper()}_SERVICE_URL": layout.url[peer] for peer in SERVICES}
    return {**peers, "DATABASE_URL": layout.dsn[service], "DATABASE_POOL": str(_CONNECTIONS * layout.threads)}


CONTENDER = Contender(
    name="fastapi",
    title="FastAPI, async SQLAlchemy, httpx",
    processes=_processes,
    deep_page=lambda rows, limit: f"/api/orders?limit={limit}&offset={rows}",
)
