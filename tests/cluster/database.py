"""A primary and a synchronous standby on machines of their own. One address leads to whichever takes the writes."""

import pwd
import shutil
import subprocess
import time
from pathlib import Path
from typing import IO

from platform_core.stack.guardian import Guardian
from tests.chaos.replicas import Pair, Server
from tests.cluster.network import Machine, start
from tests.e2e.stack import eventually

ADDRESS = "10.0.100.1"
"""Moves to the standby when it is promoted, as a floating address or a proxy does it."""
_ACCESS = "host all,replication all 10.0.0.0/16 trust\n"


class RemoteServer(Server):
    """A server that listens on all addresses of a machine."""

    listens = "*"
    machine: Machine

    def launch(self, command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        account = pwd.getpwnam(self.user or "root")
        user = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        # A change of the user takes away what `start` has asked of the kernel.
        command = self.machine.inside(*user, "--pdeathsig=KILL", "--", *command)
        return start(*command, stdout=log, stderr=log, cwd=self.cluster)


class Database(Pair):
    """The pair, and the machines that it has in turn: after a failover, the other one gets the next standby."""

    primary: RemoteServer
    standby: RemoteServer

    def __init__(self, folder: Path, machines: tuple[Machine, Machine], *, is_synchronous: bool = True) -> None:
        self.folder, self.machines, self.is_synchronous = folder, list(machines), is_synchronous
        self.number = 1
        super().__init__(folder)
        self.primary.machine.take_address(ADDRESS)
        if is_synchronous:
            self.wait_for_standby()

    @property
    def service_url(self) -> str:
        return f"postgresql://postgres@{ADDRESS}/platform"

    def _primary(self, folder: Path) -> Server:
        folder.mkdir(mode=0o755)
        binaries, user = Guardian(folder).prepare()
        with (folder / "postgres" / "pg_hba.conf").open("a") as file:
            file.write(_ACCESS)
        return self._on(self.machines[0], folder, binaries, user)

    def _standby(self, folder: Path, primary: str) -> Server:
        server = super()._standby(folder, self.primary.machine.address)
        return self._on(self.machines[1], folder, server.binaries, server.user)

    def _on(self, machine: Machine, folder: Path, binaries: Path, user: str | None) -> RemoteServer:
        server = RemoteServer(folder, binaries, user, folder / "log")
        server.machine = machine
        return server

    def lose_primary(self, seconds_behind: float) -> None:
        """The machine of the primary loses its power, and no peer is told.

        The standby has been cut off before, so it lacks the WAL of the last ``seconds_behind``. If the primary did not
        wait for it, what it has acknowledged meanwhile would be lost.
        """
        self.standby.machine.unplug()
        time.sleep(seconds_behind)
        self.primary.machine.unplug()
        self.primary.kill()
        self.standby.machine.plug_in()

    def fail_over(self) -> None:
        """Promote the standby, which serves alone from now on. Where the lost primary was, nothing is left."""
        lost, self.primary = self.primary, self.standby
        self.primary.promote()
        self.primary.machine.take_address(ADDRESS)
        lost.machine.run("ip", "address", "delete", f"{ADDRESS}/32", "dev", "lo")
        shutil.rmtree(lost.cluster.parent)
        self.machines = [self.primary.machine, lost.machine]

    def get_standby(self) -> None:
        """Make a new standby, on the machine of the lost primary, and have commits wait for it."""
        self.machines[1].plug_in()
        self.number += 1
        self.standby = self._standby(self.folder / f"b{self.number}", "")  # type: ignore[assignment]
        self.standby.start()
        self.await_standby()
        if self.is_synchronous:
            self.wait_for_standby()

    def connections_of(self, machine: Machine) -> int:
        """How many connections of a machine the primary believes in."""
        count: int = self.primary.ask(f"SELECT count(*) FROM pg_stat_activity WHERE client_addr = '{machine.address}'")
        return count

    def await_no_connections_of(self, machine: Machine, seconds: float) -> None:
        eventually(
            f"Postgres gives up the connections of {machine.name}", lambda: not self.connections_of(machine), seconds
        )
