"""The files in which the processes of a service share their counters (prometheus_client's multiprocess mode).

Each process has a place, the lowest number whose lock no other process holds. The kernel frees the lock of a process
that is killed, and the next process that takes the place continues its counters: there are never more files than
processes that ran at the same time. Space is allocated before a file is mapped: otherwise a write on a full disk would
end the process with SIGBUS.
"""

import errno
import fcntl
import hashlib
import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from prometheus_client import values

log = logging.getLogger("platform.metrics")
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
SIZES = {"counter": 1 << 18, "histogram": 1 << 20, "gauge_livesum": 1 << 16, "gauge_mostrecent": 1 << 16}
"""Bytes of each kind of file. Labels are bounded, so that this is never exceeded; see `metrics`."""
_MEMORY = Path("/dev/shm")  # noqa: S108  # for the case that the disk is full


@dataclass(slots=True)
class _Held:
    pid: int = 0
    number: int = -1
    lock: int = -1


_held = _Held()


def share() -> None:
    """Let all metrics that are declared from now on be shared, if the environment names a folder."""
    if os.environ.get(FOLDER):
        values.ValueClass = values.MultiProcessValue(process_identifier=place)  # type: ignore[no-untyped-call]


def place() -> int:
    """The number of this process. prometheus_client asks for it whenever a value changes."""
    if _held.pid != os.getpid():
        _take()
    return _held.number


def forget_the_dead() -> None:
    """Remove the gauges of processes that ended from the sums over live processes."""
    folder = os.environ.get(FOLDER)
    for path in Path(folder).glob("gauge_live*_*.db") if folder else ():
        number = path.stem.rpartition("_")[2]
        if number.isdigit() and int(number) != _held.number:
            lock = _locked(path.parent, int(number))
            if lock is not None:
                path.unlink(missing_ok=True)
                os.close(lock)


def _take() -> None:
    folder = Path(os.environ[FOLDER])
    try:
        _take_in(folder)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
        log.warning("metrics.disk_full", extra={"data": {"folder": str(folder), "error": str(error)}})
        # Not in the sums of the other processes, but a request must not fail for its metrics.
        os.environ[FOLDER] = str(_MEMORY / f"platform-metrics-{name}")
        _take_in(Path(os.environ[FOLDER]))


def _take_in(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in count():
        lock = _locked(folder, number)
        if lock is not None:
            _held.pid, _held.number, _held.lock = os.getpid(), number, lock
            _allocate(folder, number)
            return


def _allocate(folder: Path, number: int) -> None:
    for kind, size in SIZES.items():
        path = folder / f"{kind}_{number}.db"
        if kind.startswith("gauge_live"):
            path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _extend(descriptor, size)
        except OSError:
            with suppress(OSError):
                if not os.pread(descriptor, 1, 0):
                    path.unlink()
            raise
        finally:
            os.close(descriptor)


def _extend(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:  # macOS
        end = os.fstat(descriptor).st_size
        os.pwrite(descriptor, bytes(max(size - end, 0)), end)


def _locked(folder: Path, number: int) -> int | None:
    """A descriptor that holds the lock of a place; None if another process holds it.

    A record lock: it belongs to this process alone, not to the children that it forks.
    """
    descriptor = os.open(folder / f"{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
