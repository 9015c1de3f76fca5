"""The suites, and what each needs: a settings module, since pytest-django knows one in a process, and a Postgres."""

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
    # These drive running processes over HTTP.
    "e2e": None,
    "chaos": None,
    "browser": None,
    "tracing": None,
}
EXTRA = frozenset({"browser", "tracing"})
"""Suites that want more than requirements-dev.txt; they run when they are asked for."""


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
    """The URL of an embedded Postgres of the tests' own, with the five roles; gone afterwards."""
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
    """Wait for no disk. The data is thrown away, and what is killed here is the server, never the machine."""
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off".encode())
        connection.execute("SELECT pg_reload_conf()")
