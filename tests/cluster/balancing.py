"""What stands in front of the hosts: HAProxy on each of them, nginx with another one. Both as `deploy/` has them."""

import os
import shutil
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from platform_core.conf.environment import ROOT
from platform_core.tools.generate import BALANCER_OFFSET
from platform_core.topology import SERVICES, Service
from tests.cluster.network import Machine, start
from tests.e2e.stack import eventually
from tests.nginx import configured

CONFIGURATION = ROOT / "deploy" / "haproxy" / "haproxy.cfg"
HAPROXY = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
DOMAIN = "shop.test"
PLAIN_PORT, TLS_PORT = 8080, 8443


def balanced(address: str, service: Service, path: str = "") -> str:
    """The URL of a service at the balancer that listens on this address."""
    return f"http://{address}:{service.port + BALANCER_OFFSET}{path}"


class Balancer:
    """HAProxy on one machine, in front of the services of all hosts."""

    def __init__(
        self, folder: Path, machine: Machine, hosts: tuple[str, str], address: str, configuration: Path
    ) -> None:
        """``hosts`` and ``address``: where the services are, and where the balancer listens."""
        self.output, self.machine, self.address, self.configuration = (
            folder / "haproxy",
            machine,
            address,
            configuration,
        )
        self.variables = {"BALANCER_ADDRESS": address, "HOST_A": hosts[0], "HOST_B": hosts[1]}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert HAPROXY
        command = self.machine.inside(HAPROXY, "-db", "-f", str(self.configuration))
        with self.output.open("ab") as output:
            variables = {**os.environ, **self.variables}
            self.process = start(*command, env=variables, stdout=output, stderr=output)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None


class Front:
    """The only way in from outside: nginx, and a balancer behind it."""

    def __init__(self, folder: Path, machine: Machine, hosts: tuple[str, str], configuration: Path) -> None:
        self.machine, self.certificate = machine, folder / "certificate"
        self.balancer = Balancer(folder, machine, hosts, machine.address, configuration)
        self.balancer.start()
        services = {
            f"{each.name}:{each.port}": balanced(machine.address, each).removeprefix("http://") for each in SERVICES
        }
        # All clients of the suite have one address.
        limits = {"rate=50r/s": "rate=5000r/s"}
        command = configured(folder, machine.address, PLAIN_PORT, TLS_PORT, {**services, **limits})
        self.nginx = start(*machine.inside_alone(*command))
        eventually("nginx listens", self.listens)

    def listens(self) -> bool:
        with suppress(OSError), socket.create_connection((self.machine.address, TLS_PORT), 1):
            return True
        return False

    def stop(self) -> None:
        self.nginx.kill()
        self.nginx.wait(20)
        self.balancer.kill()


class Named(HTTPAdapter):
    """Finds all hosts of the shop at the front, as DNS would. The certificate is checked."""

    def __init__(self, front: Front) -> None:
        super().__init__()
        self.front = front

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        parts = urlsplit(str(request.url))
        request.headers["Host"] = str(parts.hostname)
        request.url = parts._replace(netloc=f"{self.front.machine.address}:{TLS_PORT}").geturl()
        return super().send(request, *args, **{**kwargs, "verify": str(self.front.certificate)})


def named(service: Service, path: str) -> str:
    """The URL of a service for clients."""
    return f"https://{service.stem}.{DOMAIN}{path}"
