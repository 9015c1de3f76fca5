"""PgBouncer in transaction mode, in front of a Postgres of the tests.

It takes no prepared statements, as versions before 1.21, and has few connections to the server, so that those of many
clients mix: what a client leaves behind in a session, another one gets.
"""

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

from platform_core.conf.environment import as_url
from platform_core.stack.postgres import SUPERUSER
from platform_core.stack.processes import die_with_parent
from platform_core.topology import SERVICES, Service
from tests.suites import temporary_server

POOL = 5
"""Connections to the server for each service."""
SWITCH = "E2E_POOLER"
"""If this variable is set, platforms of the suites e2e and chaos go through a pooler (`python -m tests --pooler`)."""
_ADMIN, _POSTGRES_USER = "pgbouncer", "pgserver"
_SECONDS = 20.0
MISSING = "PgBouncer is not installed (Debian: apt-get install pgbouncer)"


def program() -> str | None:
    """The path of the installed PgBouncer."""
    return shutil.which(
        "pgbouncer", path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin{os.pathsep}/usr/local/sbin"
    )


def _user() -> dict[str, Any]:
    """The user that runs it: it refuses to be root. The embedded Postgres' own may open the folder of its socket."""
    if os.geteuid() != 0:
        return {}
    try:
        account = pwd.getpwnam(_POSTGRES_USER)
    except KeyError:
        with temporary_server():  # it makes the user
            account = pwd.getpwnam(_POSTGRES_USER)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


class Pooler:
    """PgBouncer on a port of 127.0.0.1. ``folder`` gets its files; it must be readable for all.

    ``host`` and ``target`` are the host and port of Postgres, which need not run yet. ``settings`` are further ones of
    pgbouncer.ini.
    """

    def __init__(self, folder: Path, port: int, host: str, target: int | str = 5432, **settings: object) -> None:
        found = program()
        assert found, MISSING
        self.port, self.host, self.target = port, host, target
        self.output = folder / f"pooler-{port}.out"
        own: Mapping[str, object] = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": folder / f"pooler-{port}.users",
            "admin_users": _ADMIN,
            "pool_mode": "transaction",
            "default_pool_size": POOL,
            "max_client_conn": 2000,
            "server_login_retry": 1,
            # `new_epoch` and `restore` wait until nobody is connected.
            "server_idle_timeout": 1,
            "log_connections": 0,
            "log_disconnections": 0,
            **settings,
        }
        users = (_ADMIN, SUPERUSER, *(service.role for service in SERVICES))
        (folder / f"pooler-{port}.users").write_text("".join(f'"{user}" ""\n' for user in users))
        lines = [f"{name} = {value}" for name, value in own.items()]
        databases = f"[databases]\n* = host={host} port={target}\n"
        (folder / f"pooler-{port}.ini").write_text("\n".join([databases, "[pgbouncer]", *lines, ""]))
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [found, str(folder / f"pooler-{port}.ini")],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=die_with_parent,
                **_user(),
            )
        self._await_listening()

    def _await_listening(self) -> None:
        until = time.monotonic() + _SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < until, self.output.read_text()
                time.sleep(0.05)

    def url(self, user: str, database: str = "platform") -> str:
        """The URL of a database through the pooler."""
        return as_url({"user": user, "dbname": database, "host": "127.0.0.1", "port": self.port})

    def direct_url(self, user: str, database: str = "platform") -> str:
        """The URL of a database past the pooler."""
        return as_url({"user": user, "dbname": database, "host": self.host, "port": self.target})

    def command(self, statement: str) -> None:
        """Run a command of PgBouncer's console."""
        with psycopg.connect(self.url(_ADMIN, "pgbouncer"), autocommit=True) as console:
            console.execute(statement.encode())

    def variables(self, services: tuple[Service, ...] = SERVICES) -> dict[str, str]:
        """The variables with which a platform on the database `platform` goes through the pooler."""
        pooled = {service.database_url_variable: self.url(service.role) for service in services}
        direct = {service.direct_url_variable: self.direct_url(service.role) for service in services}
        return {**pooled, **direct, "PREPARED_STATEMENTS": "off"}

    def stop(self) -> None:
        """End the process."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(_SECONDS)
