"""Machines of their own on one Linux: network namespaces, and this process as the router between them.

`Network` moves this process into a namespace of its own. Each `Machine` is a further namespace with one address, and a
process keeps it open. Nothing has a name, so nothing can be left behind: when the processes end, for whatever reason,
the kernel removes namespaces, cables and rules.
"""

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from platform_core.stack.processes import die_with_parent

_CLONE_NEWNET = 0x40000000
_MOST = 2**32


class CannotBeMade(Exception):
    """This process may not make namespaces. The message says why."""


def run(*command: str) -> None:
    """Run a program until it ends. Raises RuntimeError with its error message."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


def start(*command: str, **options: object) -> subprocess.Popen[bytes]:
    """Start a program that is killed when this process ends. Call it in the main thread, whose end counts as that."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        preexec_fn=partial(die_with_parent, signal.SIGKILL),
        **options,  # type: ignore[call-overload]
    )


class Machine:
    """A network namespace with a cable to the router."""

    def __init__(self, number: int, name: str) -> None:
        self.name, self.address, self.gateway = name, f"10.0.{number}.2", f"10.0.{number}.1"
        self.cable = f"to-{name}"
        self.holder = start(
            "unshare", "--net", "--", "sh", "-c", "echo ready; exec sleep infinity", stdout=subprocess.PIPE
        )
        assert self.holder.stdout is not None and self.holder.stdout.readline() == b"ready\n"
        run("ip", "link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", str(self.holder.pid))
        run("ip", "address", "add", f"{self.gateway}/24", "dev", self.cable)
        run("ip", "link", "set", self.cable, "up")
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        self.plug_in()

    def inside(self, *command: str) -> list[str]:
        """The command line that runs a program on this machine."""
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "--", *command]

    def inside_alone(self, *command: str) -> list[str]:
        """The same, as process 1 of its processes: if its parent is killed, so are all that it has started."""
        return self.inside("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--", *command)

    def run(self, *command: str) -> None:
        run(*self.inside(*command))

    def unplug(self) -> None:
        """Nothing leaves or reaches the machine any more. Its peers are not told."""
        self.run("ip", "link", "set", "eth0", "down")

    def plug_in(self) -> None:
        self.run("ip", "link", "set", "eth0", "up")
        self.run("ip", "route", "replace", "default", "via", self.gateway)

    def take_address(self, address: str) -> None:
        """Have one more address, which the router sends here from now on."""
        self.run("ip", "address", "add", f"{address}/32", "dev", "lo")
        run("ip", "route", "replace", f"{address}/32", "via", self.address)

    def close(self) -> None:
        self.holder.kill()
        self.holder.wait(10)


class Network:
    """The machines, and what cuts them off from each other. This process is the router, and the clients' machine."""

    def __init__(self, names: Sequence[str]) -> None:
        _leave_for_an_own_namespace()
        run("ip", "link", "set", "lo", "up")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        self.machines = {name: Machine(number, name) for number, name in enumerate(names, 1)}

    def __getitem__(self, name: str) -> Machine:
        return self.machines[name]

    @contextmanager
    def cut(self, *ways: tuple[str, str]) -> Iterator[None]:
        """No packet gets from the first address of a pair to the second. Senders are not told."""
        rules = [("from", source, "to", target, "blackhole") for source, target in ways]
        for rule in rules:
            run("ip", "rule", "add", *rule)
        try:
            yield
        finally:
            for rule in rules:
                run("ip", "rule", "delete", *rule)

    @contextmanager
    def losing(self, share: float, *machines: Machine) -> Iterator[None]:
        """This share of all packets to these machines is lost, at random."""
        for machine in machines:
            _lose(machine.cable, share)
        try:
            yield
        finally:
            for machine in machines:
                run("tc", "qdisc", "delete", "dev", machine.cable, "clsact")

    def close(self) -> None:
        for machine in self.machines.values():
            machine.close()


def _leave_for_an_own_namespace() -> None:
    if os.geteuid() != 0:
        raise CannotBeMade("network namespaces need root")
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        raise CannotBeMade(f"network namespaces may not be made here: {os.strerror(ctypes.get_errno())}")


def _lose(cable: str, share: float) -> None:
    """A packet filter that drops at random. It needs no netem, which some kernels lack."""
    random = 2**32 - 0x1000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM: "load a random number"
    program = f"4,32 0 0 {random},53 1 0 {int(share * _MOST)},6 0 0 2,6 0 0 0"  # if less: TC_ACT_SHOT, else TC_ACT_OK
    run("tc", "qdisc", "add", "dev", cable, "clsact")
    run("tc", "filter", "add", "dev", cable, "egress", "bpf", "direct-action", "bytecode", program)
