"""Tells other commands where the running platform is: `up` writes its URLs into its data folder.

`up` holds the folder's lock as long as it runs. Files that a killed `up` has left are therefore ignored.
"""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from platform_core.stack.processes import locked
from platform_core.topology import SERVICES

_LOCK, _PID, _URLS = "up.lock", "up.pid", "up.urls"
_PROBE_SECONDS = 0.5
"""The longest time for which a command that only looks whether `up` runs may hold the lock."""


def claim(folder: Path) -> IO[str] | None:
    """Take the folder's lock and write this process's id into a file; None if another `up` runs. Raises OSError."""
    until = time.monotonic() + _PROBE_SECONDS
    while (lock := locked(folder / _LOCK, wait=False)) is None:
        if time.monotonic() > until:
            return None
        time.sleep(0.02)
    (folder / _URLS).unlink(missing_ok=True)
    (folder / _PID).write_text(f"{os.getpid()}\n")
    return lock


def pid(folder: Path) -> str:
    """The process id of the `up` that runs from the folder, as text; ``?`` if it is unknown."""
    try:
        return (folder / _PID).read_text().strip() or "?"
    except OSError:
        return "?"


def publish(folder: Path, values: Mapping[str, Any]) -> None:
    """Write the URLs of the services. Call it only while holding the lock."""
    part = folder / f"{_URLS}.part"
    part.write_text(json.dumps({service.url_variable: values[service.url_variable] for service in SERVICES}, indent=1))
    part.replace(folder / _URLS)


def withdraw(folder: Path) -> None:
    """Remove what `claim` and `publish` wrote."""
    for name in (_URLS, _PID):
        (folder / name).unlink(missing_ok=True)


def is_up(folder: Path) -> bool:
    """Whether an `up` runs from this folder."""
    if not (folder / _LOCK).exists():
        return False
    try:
        probe = locked(folder / _LOCK, shared=True, wait=False)
    except OSError:
        return False
    if probe is None:
        return True
    probe.close()
    return False


def urls(folder: Path) -> dict[str, str]:
    """The URL variables of the `up` that runs from this folder; empty when none runs."""
    try:
        written = json.loads((folder / _URLS).read_text())
    except (OSError, ValueError):
        return {}
    if not is_up(folder):  # the file was left by a killed one
        return {}
    return {service.url_variable: written[service.url_variable] for service in SERVICES}
