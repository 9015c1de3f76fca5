"""``manage.py load``: replaces this process by locust, which runs the locustfile beside this module.

Ctrl-C and SIGTERM thus reach locust directly. This module must not import locust, which patches the standard library.
"""

import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from platform_core.conf.environment import ROOT
from platform_core.stack import StackError, is_free

MIX = {"browse": 40, "search": 15, "order": 25, "read": 15, "cancel": 5}
"""The weights with which actions are chosen."""
HOST, PORT = "127.0.0.1", 8089
"""The address of locust's page. It has no sign-in, so it is reachable from this machine only."""


def run(users: int, seconds: int, mix: Mapping[str, int], file: Path | None, port: int | None) -> NoReturn:
    """Replace this process by locust. Raises StackError.

    With ``port``, locust serves a page on which a run is started; without it, the run starts at once. The summary is
    written to ``file`` as JSON. locust's exit code is 1 after failures.
    """
    if find_spec("locust") is None:
        command = f"{sys.executable} -m pip install -r {ROOT / 'requirements-dev.txt'}"
        raise StackError(f"locust is not installed. Install it with: {command}")
    options = ["--users", str(users), "--spawn-rate", str(min(users, 100)), "--stop-timeout", "30"]
    options += ["--mix", ",".join(f"{name}={weight}" for name, weight in mix.items())]
    if file is not None:
        try:
            file.touch()
        except OSError as error:
            raise StackError(f"{file} cannot be written: {error.strerror}.") from None
        options += ["--summary", str(file)]
    if port is None:
        options += ["--headless", "--only-summary", "--seconds", str(seconds)]
    elif is_free(HOST, port):
        options += ["--web-host", HOST, "--web-port", str(port), "--run-time", f"{seconds}s"]
    else:
        raise StackError(f"Port {port} is in use; --web PORT chooses another one.")
    locustfile = str(Path(__file__).with_name("locustfile.py"))
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    # locust reads keys from the terminal. In the background, that would suspend the process.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # Without its own logging, locust prints warnings only. The locustfile prints the figures.
    command_line = [sys.executable, "-m", "locust", "--locustfile", locustfile, "--skip-log-setup", *options]
    os.execve(sys.executable, command_line, {**os.environ, "PYTHONPATH": path})  # noqa: S606


def mix_of(text: str) -> dict[str, int]:
    """The weights in text such as ``browse=60,order=40``. Raises ValueError with what was expected."""
    pairs = [part.strip().partition("=") for part in text.split(",")]
    if all(name in MIX and weight.isascii() and weight.isdigit() and len(weight) < 5 for name, _, weight in pairs):
        mix = {name: int(weight) for name, _, weight in pairs}
        if any(mix.values()):
            return mix
    raise ValueError(f"weights such as browse=60,order=40, of {', '.join(MIX)}")
