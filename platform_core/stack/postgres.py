"""The embedded Postgres of a development folder.

Any number of commands may use it at the same time. Each holds a shared lock on a file until it ends. A guardian process
(`guardian`) starts the server and restarts it after a crash. When the guardian gets the exclusive lock, no command uses
the server any more, not even a killed one, so it stops the server. If the guardian is killed, the server stops, too.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psycopg

from platform_core.conf.environment import ROOT, as_url
from platform_core.db.waiting import open_connection
from platform_core.stack.guardian import START_SECONDS, STOP_SECONDS, socket_folder
from platform_core.stack.processes import locked

DATABASE = "platform"
SUPERUSER = "postgres"
_NO_SPACE = "No space left on device"
_RECENT = 30
"""The number of log lines, counted from the end, in which the reason for a failure is searched."""


class PostgresError(Exception):
    """The embedded server cannot be used. The message says what to do."""


@dataclass(slots=True)
class EmbeddedPostgres:
    """A server that this process uses. Closing ``lease`` lets the server stop if no other process uses it."""

    folder: Path
    lease: IO[str]

    @property
    def url(self) -> str:
        """The URL, for libpq, of the platform's database as the superuser."""
        return url(self.folder)

    def ensure(self) -> None:
        """Start the server if it has no guardian. Raises PostgresError."""
        if _guardian_is_gone(self.folder):
            _start(self.folder)

    def release(self) -> None:
        """Give up the lease. The server stops if nobody else uses it."""
        self.lease.close()


def url(folder: Path, database: str = DATABASE) -> str:
    """The URL, for libpq, of a database on the embedded server of ``folder``."""
    return as_url({"user": SUPERUSER, "dbname": database, "host": str(socket_folder(folder))})


def holds(folder: Path, parts: Mapping[str, Any]) -> bool:
    """Whether libpq's parameters name the embedded server of ``folder``."""
    return parts.get("host") == str(socket_folder(folder))


def acquire(folder: Path) -> EmbeddedPostgres:
    """Use the embedded server of ``folder``. Starts it if it does not run. Raises PostgresError."""
    folder = folder.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        starting = locked(folder / "postgres.start")
    except OSError as error:
        raise PostgresError(f"The data folder {folder} cannot be used: {error.strerror}. Set PLATFORM_DATA.") from None
    assert starting is not None
    with starting:
        lease = locked(folder / "postgres.users", shared=True)
        assert lease is not None
        server = EmbeddedPostgres(folder, lease)
        server.ensure()
    return server


def set_wal_level(folder: Path, level: str | None) -> None:
    """Set ``wal_level`` of the embedded server, or reset it (None).

    Setting it restarts the server, which its guardian does: sessions end, and for about a second it does not answer.
    A reset waits for the next start. Raises PostgresError.
    """
    with open_connection(url(folder), autocommit=True) as connection:
        if level is None:
            connection.execute("ALTER SYSTEM RESET wal_level")
            return
        connection.execute(f"ALTER SYSTEM SET wal_level = '{level}'".encode())
    pid = int((folder.resolve() / "postgres" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGINT)
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        time.sleep(0.1)
        with suppress(psycopg.OperationalError), open_connection(url(folder), autocommit=True) as connection:
            row = connection.execute("SHOW wal_level").fetchone()
            if row and row[0] == level:
                return
    raise PostgresError(f"The embedded Postgres in {folder} did not restart: see {folder / 'postgres.log'}.")


def await_stopped(folder: Path) -> None:
    """Wait until the embedded server has stopped, or until it is clear that another process uses it."""
    until = time.monotonic() + STOP_SECONDS
    grace = time.monotonic() + 1.0  # the guardian holds the users' lock itself while it stops
    while time.monotonic() < until:
        presence = locked(folder / "postgres.guardian", wait=False)
        if presence is not None:
            presence.close()
            return
        time.sleep(0.05)
        lease = locked(folder / "postgres.users", shared=True, wait=False)
        if lease is not None:
            lease.close()
            if time.monotonic() > grace:
                return


def _guardian_is_gone(folder: Path) -> bool:
    free = locked(folder / "postgres.guardian", wait=False)
    if free is None:
        return False
    free.close()
    return True


def _start(folder: Path) -> None:
    """Start a guardian, and wait until it reports that the server is ready. Raises PostgresError."""
    with (folder / "guardian.log").open("w") as log:
        guardian = subprocess.Popen(
            [sys.executable, "-m", "platform_core.stack.guardian", str(folder)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            text=True,
        )
    assert guardian.stdout is not None
    word = guardian.stdout.readline().strip()
    guardian.stdout.close()
    if word != "ready":
        guardian.wait()
        raise PostgresError(_trouble(folder))


def _trouble(folder: Path) -> str:
    lines = [
        line
        for name in ("guardian.log", "postgres.log")
        for line in ((folder / name).read_text(errors="replace").splitlines() if (folder / name).exists() else [])
        if line.strip()
    ]
    usage = shutil.disk_usage(folder)
    if any(_NO_SPACE in line for line in lines[-_RECENT:]) or usage.free < 2**20:
        return (
            f"No space left on the disk of {folder}: {usage.free // 2**20} of {usage.total // 2**20} MB are free, and "
            "a new platform needs 100 MB. Free some, or set PLATFORM_DATA to a folder on another disk."
        )
    last = lines[-1].strip() if lines else "no reason given"
    return f"The embedded Postgres in {folder} does not start: {last} (see {folder / 'postgres.log'})."
