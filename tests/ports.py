"""Ports for what tests start: no two test processes are given the same one."""

import socket

PORTS = range(20_000, 26_000)
"""Below the kernel's range of ephemeral ports."""
CLAIMS = 6_000
"""Offset of the port that the owner of a port holds open as a lock."""
_claims: list[socket.socket] = []


def free_ports(count: int) -> list[int]:
    """Returns free ports and reserves them until this process ends, whatever it starts and stops on them.

    Without the reservation, another process could take a port before the server binds it. A platform takes seconds to
    start, so parallel suites would take each other's ports.
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
