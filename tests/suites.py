"""The suites and their needs: a settings module (pytest-django allows one per process) and a Postgres."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from platform_core.conf.environment import VARIABLES, parsed
from platform_core.stack import postgres
from platform_core.stack.roles import ensure_roles
from platform_core.topology import SERVICES

TESTS = Path(__file__).resolve().parent
SERVER_VARIABLE = "TESTS_DATABASE_URL"
SETTINGS = {
    "platform_core": "tests.platform_core.settings",
    **{service.package: service.settings_module for service in SERVICES},
    # These start what they test: processes, and other programs.
    "e2e": None,
    "chaos": None,
    "browser": None,
    "tracing": None,
    "generated": None,
    "kubernetes": None,
    "cluster": None,
}
EXTRA = frozenset({"browser", "tracing", "generated", "kubernetes", "cluster"})
"""Suites that need more than requirements-dev.txt. They run only on request."""


def plain_environment() -> dict[str, str]:
    """The process's environment without anything that configures the platform."""
    ours = {variable.name for variable in VARIABLES} | {"DJANGO_SETTINGS_MODULE", "PROMETHEUS_MULTIPROC_DIR"}
    return {
        name: value
        for name, value in os.environ.items()
        if name.removesuffix("_FILE") not in ours and not name.startswith("OTEL_")
    }


@contextmanager
def temporary_server() -> Iterator[str]:
    """Starts an embedded Postgres with the five roles, yields its URL, and removes it afterwards."""
    with tempfile.TemporaryDirectory(prefix="platform-tests-") as folder:
        Path(folder).chmod(0o755)  # as root the server runs as another user
        server = postgres.acquire(Path(folder))
        try:
            ensure_roles(parsed({"DATABASE_URL": server.url}), create_databases=True)
            _write_carelessly(server.url)
            yield server.url
        finally:
            server.release()
            postgres.await_stopped(Path(folder))


def _write_carelessly(url: str) -> None:
    """Disables fsync. The data is temporary, and tests kill the server but never the machine."""
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off".encode())
        connection.execute("SELECT pg_reload_conf()")
