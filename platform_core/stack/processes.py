"""Small things about processes that the local stack needs."""

import ctypes
import fcntl
import signal
import socket
import sys
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1


def die_with_parent(number: int = signal.SIGTERM) -> None:
    """Have the kernel send us ``number`` when our parent dies, however it dies. Does nothing but on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)


def locked(path: Path, *, shared: bool = False, wait: bool = True) -> IO[str] | None:
    """A file that holds a lock until it is closed or the process ends; None without ``wait`` when it is taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = path.open("a+")
    mode = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    try:
        fcntl.flock(handle, mode)
    except BlockingIOError:
        handle.close()
        return None
    return handle


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
