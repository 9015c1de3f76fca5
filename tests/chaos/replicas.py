"""Two Postgres servers of the embedded kind: a primary and a standby that streams from it."""

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import IO, Any

import psutil
import psycopg

from platform_core.conf.environment import as_url
from platform_core.stack.guardian import Guardian
from platform_core.stack.processes import die_with_parent
from tests.e2e.stack import eventually

_OPTIONS = ("max_connections=200", "shared_buffers=64MB", "io_method=sync", "wal_keep_size=256MB")


class Server:
    """A cluster and, while it runs, its postmaster. It listens on a Unix socket alone."""

    listens = ""

    def __init__(self, folder: Path, binaries: Path, user: str | None, log: Path) -> None:
        self.cluster, self.binaries, self.user, self.log = folder / "postgres", binaries, user, log
        self.sockets = folder / "socket"
        self.sockets.mkdir(exist_ok=True)
        self.sockets.chmod(0o777)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = [word for option in _OPTIONS for word in ("-c", option)]
        places = ["-D", str(self.cluster), "-h", self.listens, "-k", str(self.sockets)]
        with self.log.open("ab") as log:
            self.process = self.launch([str(self.binaries / "postgres"), *places, *options], log)
        eventually(f"Postgres answers; {self.log.read_text()[-500:]}", self.answers, 60)

    def launch(self, command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=self.user,
            cwd=self.cluster,
            preexec_fn=die_with_parent,
        )

    def answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            return self.ask("SELECT 1") == 1
        return False

    def ask(self, query: str, database: str = "postgres") -> Any:
        """The only value of the query's only row; None if the statement returns no rows."""
        url = f"postgresql://postgres@/{database}?host={self.sockets}"
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(query.encode())
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None

    def stop(self, number: int = signal.SIGINT) -> None:
        """SIGINT: an orderly stop. SIGQUIT: at once, as in a crash."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(60)
            self.process = None

    def kill(self) -> None:
        """Kill all its processes at once, as the loss of its machine does."""
        assert self.process is not None
        postmaster = psutil.Process(self.process.pid)
        for process in (postmaster, *postmaster.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(60)
        self.process = None

    def promote(self) -> None:
        assert self.ask("SELECT pg_promote(true, 60)")


class Pair:
    """A primary and its standby. Clients that are given both find the one that takes writes."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self.primary = self._primary(folder / "a")
        self.primary.start()
        self.standby = self._standby(folder / "b", str(self.primary.sockets))
        self.standby.start()
        self.await_standby()

    def await_standby(self) -> None:
        streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
        eventually("the standby streams", lambda: self.primary.ask(streaming) == 1)

    def _primary(self, folder: Path) -> Server:
        folder.mkdir()
        folder.chmod(0o755)
        binaries, user = Guardian(folder).prepare()
        return Server(folder, binaries, user, folder / "log")

    def _standby(self, folder: Path, primary: str) -> Server:
        """A copy of the primary, which it reaches at this host or in this folder of its socket. It is not started."""
        folder.mkdir()
        folder.chmod(0o755)
        if self.primary.user:
            shutil.chown(folder, self.primary.user)
        done = subprocess.run(
            [
                str(self.primary.binaries / "pg_basebackup"),
                *("--pgdata", str(folder / "postgres"), "--write-recovery-conf", "--checkpoint", "fast"),
                *("--host", primary, "--username", "postgres"),
            ],
            user=self.primary.user,
            cwd=folder,
            env={**os.environ, "HOME": str(folder)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return Server(folder, self.primary.binaries, self.primary.user, folder / "log")

    def wait_for_standby(self) -> None:
        """Have each commit wait until the standby has it (synchronous replication)."""
        self.primary.ask("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.primary.ask("SELECT pg_reload_conf()")
        sync = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        eventually("the standby is synchronous", lambda: self.primary.ask(sync) == 1)

    def url(self, user: str, database: str) -> str:
        hosts = f"{self.primary.sockets},{self.standby.sockets}"
        return as_url({"user": user, "dbname": database, "host": hosts, "target_session_attrs": "read-write"})

    def stop(self) -> None:
        for server in (self.standby, self.primary):
            server.stop(signal.SIGQUIT)
