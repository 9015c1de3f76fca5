"""Makes processes slow instead of dead: stops them, or takes away what they wait for."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import psutil
import psycopg

from tests.e2e.stack import Stack


def postgres_processes(stack: Stack) -> list[psutil.Process]:
    """The processes of the stack's Postgres, the postmaster first."""
    pid = int((stack.folder / "data" / "postgres" / "postmaster.pid").read_text().split()[0])
    postmaster = psutil.Process(pid)
    return [postmaster, *postmaster.children(recursive=True)]


@contextmanager
def frozen(processes: Sequence[psutil.Process]) -> Iterator[None]:
    """The processes are stopped, and continue afterwards."""
    try:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        yield
    finally:
        for process in reversed(processes):
            with suppress(psutil.NoSuchProcess):
                process.resume()


@contextmanager
def without_standby(stack: Stack) -> Iterator[None]:
    """Commits wait for a synchronous standby that does not exist."""
    with psycopg.connect(stack.database_url(), autocommit=True) as connection:
        connection.execute("SET synchronous_commit = local")
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        try:
            connection.execute("SELECT pg_reload_conf()")
            yield
        finally:
            connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
            connection.execute("SELECT pg_reload_conf()")
