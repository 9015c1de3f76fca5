"""The embedded Postgres of a development folder.

Any number of commands may use it side by side. Each holds a shared lock on a file for as long as it lives; a guardian
process starts the server, restarts it when it crashes, and stops it when it gets the lock for itself, that is when the
last user is gone, even one that was killed. Killed itself, it takes the server along. See `guardian`.
"""

import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from platform_core.conf.environment import ROOT, as_url
from platform_core.stack.guardian import STOP_SECONDS, socket_folder
from platform_core.stack.processes import locked

DATABASE = "platform"
SUPERUSER = "postgres"
_NO_SPACE = "No space left on device"
_RECENT = 30
"""Lines of the logs in which the reason is looked for."""


class PostgresError(Exception):
    """The embedded server cannot be had; the text says what to do."""


@dataclass(slots=True)
class EmbeddedPostgres:
    """A server in use. Dropping ``lease`` lets it stop when nobody else uses it."""

    folder: Path
    lease: IO[str]

    @property
    def url(self) -> str:
        """libpq's URL of the platform's database, as superuser."""
        return url(self.folder)

    def ensure(self) -> None:
        """Start it again when its guardian is gone. Raises PostgresError."""
        if _guardian_is_gone(self.folder):
            _start(self.folder)

    def release(self) -> None:
        """Give up the lease. The server stops if nobody else uses it."""
        self.lease.close()


def url(folder: Path, database: str = DATABASE) -> str:
    """libpq's URL of a database on the embedded server of ``folder``."""
    return as_url({"user": SUPERUSER, "dbname": database, "host": str(socket_folder(folder))})


def acquire(folder: Path) -> EmbeddedPostgres:
    """Use the embedded server of ``folder``, starting it when it does not run. Raises PostgresError."""
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


def await_stopped(folder: Path) -> None:
    """Until the embedded server is down, or it turns out that somebody else uses it."""
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
    """Start a guardian, and wait for its word."""
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
