"""Helpers for processes: file locks, free ports, and the end with the parent."""

import ctypes
import fcntl
import signal
import socket
import sys
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1


def die_with_parent(number: int = signal.SIGTERM) -> None:
    """Ask the kernel to send this process a signal when its parent dies, even if it is killed. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)


def locked(path: Path, *, shared: bool = False, wait: bool = True) -> IO[str] | None:
    """Lock a file until the returned handle is closed or the process ends.

    With ``wait=False``, returns None if another process holds the lock. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = path.open("a+")
    mode = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    try:
        fcntl.flock(handle, mode)
    except BlockingIOError:
        handle.close()
        return None
    return handle


def bound_socket(host: str, port: int) -> socket.socket | None:
    """A TCP socket with this address that does not listen yet; None if the address is in use or not of this machine."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError:
        bound.close()
        return None
    return bound


def is_free(host: str, port: int) -> bool:
    """Whether a server can listen on this address."""
    bound = bound_socket(host, port)
    if bound is not None:
        bound.close()
    return bound is not None
