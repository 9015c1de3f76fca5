"""The benchmark's Postgres, with the platform's roles, schemas and tables."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from benchmarks.seeding import Size, seed
from platform_core.conf import as_url, database_parts, parsed
from platform_core.stack import ensure_roles, migrate_all, postgres
from platform_core.topology import SERVICES
from tests.suites import plain_environment

SMALL, LARGE = "small", "large"


class Server:
    """An embedded Postgres and its databases. ``large`` is created once, ``small`` again for each contender."""

    def __init__(self, folder: Path, sizes: Mapping[str, Size]) -> None:
        self.folder = folder
        self.sizes = sizes
        self.embedded = postgres.acquire(folder)

    def url(self, database: str) -> str:
        """The libpq URL of the superuser."""
        return postgres.url(self.folder, database)

    def dsn(self, database: str) -> dict[str, str]:
        """The URLs by service, each with the service's own role."""
        values = parsed({"DATABASE_URL": self.url(database)})
        return {service.stem: as_url(database_parts(service, values) or {}) for service in SERVICES}

    def make(self, name: str, size: Size) -> None:
        """Creates a database with the platform's tables and data."""
        values = parsed({"DATABASE_URL": self.url(name)})
        ensure_roles(values)
        migrate_all(values, plain_environment(), not_theirs=(self.embedded.lease,))
        seed(self.url(name), size)

    def prepare(self, database: str) -> None:
        """Prepares the database for a contender's turn.

        ``small`` is copied from its template each time, so that contenders do not affect each other. ``large`` is only
        read, and too large to copy.
        """
        if database == LARGE:
            if not self._has(LARGE):
                self.make(LARGE, self.sizes[LARGE])
            return
        template = f"{database}_template"
        if not self._has(template):
            self.make(template, self.sizes[database])
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            name = sql.Identifier(database)
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(name, sql.Identifier(template)))
            connection.execute("CHECKPOINT")

    def _has(self, name: str) -> bool:
        with psycopg.connect(self.url("postgres")) as connection:
            return connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is not None

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(int((self.folder / "postgres" / "postmaster.pid").read_text().split()[0]))

    def close(self) -> None:
        self.embedded.release()
        postgres.await_stopped(self.folder)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A temporary folder with access for all: as root, the embedded Postgres runs as another user."""
    folder = Path(tempfile.mkdtemp(prefix="platform-benchmarks-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def temporary_server(folder: Path, sizes: Mapping[str, Size]) -> Iterator[Server]:
    server = Server(folder / "database", sizes)
    try:
        yield server
    finally:
        server.close()
