"""Ports for what tests start: no two test processes are given the same one."""

import socket

PORTS = range(20_000, 26_000)
"""Below what the kernel gives to clients."""
CLAIMS = 6_000
"""This far above each port is the one that its owner holds for as long as it runs."""
_claims: list[socket.socket] = []


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; they are this process's until it ends, whatever it starts there and stops.

    A port that was only looked at is anybody's until a server has bound it, and a platform takes seconds to do so: the
    suites that run side by side would take each other's.
    """
    found: list[int] = []
    for port in PORTS:
        claim = socket.socket()
        try:
            claim.bind(("127.0.0.1", port + CLAIMS))
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
        else:
            _claims.append(claim)
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"{count} free ports are not to be had in {PORTS}")
