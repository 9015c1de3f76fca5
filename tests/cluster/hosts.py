"""Two hosts that run the whole platform each, their database, and what stands in front of them."""

import signal
import subprocess
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psutil

from platform_core.stack.supervisor import health_of
from platform_core.topology import SERVICES, Service
from tests.cluster.balancing import CONFIGURATION, DOMAIN, Balancer, Front, balanced
from tests.cluster.database import Database
from tests.cluster.network import Machine, Network, start
from tests.e2e.stack import Stack, eventually

HOSTS = ("host-a", "host-b")
NAMES = (*HOSTS, "front", "database-1", "database-2")
DRAIN_SECONDS = 5
"""As in the image. The balancers ask every second, and believe the second bad answer."""
START_SECONDS = 150.0
LOCALHOST = "127.0.0.1"


class Host(Stack):
    """`manage.py up` on a machine of its own, as process 1 of its processes, with a balancer for its calls."""

    def __init__(self, folder: Path, machine: Machine, balancer: Balancer, variables: dict[str, str]) -> None:
        super().__init__(folder)
        self.machine, self.balancer, self.variables = machine, balancer, variables
        self.ports = {service.package: service.port for service in SERVICES}

    @property
    def environment(self) -> dict[str, str]:
        ports = {service.listen_port_variable: str(service.port) for service in SERVICES}
        return {**super().environment, **ports, "BIND_HOST": self.machine.address, **self.variables}

    def url(self, service: Service, path: str = "") -> str:
        return balanced(LOCALHOST, service, path)

    def direct(self, service: Service, path: str = "") -> str:
        return f"http://{self.machine.address}:{service.port}{path}"

    def launch(self, **variables: str) -> subprocess.Popen[bytes]:
        self.balancer.start()
        command = self.machine.inside_alone(*self.command("up"))
        environment = {**self.environment, **variables}
        with self.output.open("ab") as output:
            self.process = start(*command, cwd=self.root, env=environment, stdout=output, stderr=output)
        return self.process

    def begin(self) -> None:
        """Start it, and do not wait."""
        if self.output.exists():
            self.output.rename(self.folder / f"up-{time.monotonic_ns()}.out")
        self.launch()

    def is_up(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.said()[-4000:]
        return "Ready in" in self.said()

    def await_up(self) -> None:
        """Wait until all its webs are ready."""
        eventually(f"{self.machine.name} is ready", self.is_up, START_SECONDS)

    def come_back(self) -> None:
        """Start it again, also after a loss of power."""
        self.machine.plug_in()
        self.begin()
        self.await_up()

    def drain(self) -> None:
        """Stop it as an operator does, and wait for its end."""
        assert self.process is not None
        (up,) = psutil.Process(self.process.pid).children()
        up.send_signal(signal.SIGTERM)
        code = self.process.wait(DRAIN_SECONDS + 90)
        assert code == 0, self.said()[-2000:]
        self.balancer.kill()
        self.process = None

    def kill(self) -> None:
        """Kill all its processes at once."""
        if self.process is not None:
            self.process.kill()  # and the kernel kills the others, because process 1 of their namespace ends
            self.process.wait(20)
            self.process = None
        self.balancer.kill()

    def lose_power(self) -> None:
        """All its processes are gone, and no peer is told."""
        self.machine.unplug()
        self.kill()

    def all_said(self) -> str:
        """The output of all its starts."""
        return "".join(file.read_text(errors="replace") for file in sorted(self.folder.glob("up*.out")))


class Cluster(Stack):
    """The whole of it. As a stack, it is reached through the front's balancer, which any host may answer."""

    def __init__(
        self, folder: Path, network: Network, resources: ExitStack, mail_port: int, configuration: Path = CONFIGURATION
    ) -> None:
        super().__init__(folder)
        self.network = network
        database = self.network["database-1"], self.network["database-2"]
        (folder / "database").mkdir()
        self.database = Database(folder / "database", database)
        resources.callback(self.database.stop)
        addresses = self.network[HOSTS[0]].address, self.network[HOSTS[1]].address
        (folder / "front").mkdir()
        self.front = Front(folder / "front", self.network["front"], addresses, configuration)
        resources.callback(self.front.stop)
        self.hosts = []
        for name in HOSTS:
            own, machine = folder / name, self.network[name]
            own.mkdir()
            variables = {
                **self.shared,
                "EMAIL_URL": f"smtp://{machine.gateway}:{mail_port}",
                "DRAIN_SECONDS": str(DRAIN_SECONDS),
            }
            balancer = Balancer(own, machine, addresses, LOCALHOST, configuration)
            self.hosts.append(Host(own, machine, balancer, variables))
            resources.callback(self.hosts[-1].kill)

    @property
    def shared(self) -> dict[str, str]:
        """Variables that are the same everywhere."""
        return {
            "DATABASE_URL": self.database.service_url,
            "KEYS_DIR": str(self.folder / "keys"),
            "ALLOWED_HOSTS": ",".join((f".{DOMAIN}", "localhost", *(self.network[name].address for name in NAMES[:3]))),
            "NUM_PROXIES": "2",
            "PENDING_SECONDS": "8",
            "LOG_LEVEL": "info",
        }

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, **self.shared}

    def url(self, service: Service, path: str = "") -> str:
        return balanced(self.front.machine.address, service, path)

    def begin(self) -> None:
        """Start all hosts. One of them migrates, and the others wait for it."""
        for host in self.hosts:
            host.begin()
        for host in self.hosts:
            host.await_up()
        self.await_well()

    def await_well(self, seconds: float = 90.0) -> None:
        """Wait until each service of each host is well, its database and its peers included."""
        for host in self.hosts:
            for service in SERVICES:
                well = partial(health_of, host.direct(service), "/health")
                eventually(f"{service.name} of {host.machine.name} is well", lambda w=well: w()[0] == 200, seconds)

    def said(self) -> str:
        return "\n".join(host.all_said() for host in self.hosts)
