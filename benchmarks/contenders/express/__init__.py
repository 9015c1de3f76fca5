"""Express, node-postgres and undici, in a cluster of processes: the usual service of Node.js, on the same tables.

Its packages are installed by ``npm ci --prefix benchmarks/contenders/express``.
"""

import shutil
from pathlib import Path

from benchmarks.contender import SERVICES, Contender, ContenderError, Layout, Process

FOLDER = Path(__file__).parent
_CONNECTIONS = 2
"""Postgres connections of a process per thread of the other contenders: an event loop has more requests in flight."""


def _processes(layout: Layout) -> list[Process]:
    node = shutil.which("node")
    if node is None or not (FOLDER / "node_modules").is_dir():
        raise ContenderError("express needs Node.js 20 and its packages: npm ci --prefix benchmarks/contenders/express")
    return [
        Process(service, (node, str(FOLDER / "server.js"), service), _environment(layout, service))
        for service in SERVICES
    ]


def _environment(layout: Layout, service: str) -> dict[str, str]:
    peers = {f"{peer.upper()}_SERVICE_URL": layout.url[peer] for peer in SERVICES}
    return {
        **peers,
        "NODE_ENV": "production",
        "DATABASE_URL": layout.dsn[service],
        "DATABASE_POOL": str(_CONNECTIONS * layout.threads),
        "PORT": str(layout.port(service)),
        "WORKERS": str(layout.workers),
    }


CONTENDER = Contender(name="express", title="Express, node-postgres, undici", processes=_processes)
