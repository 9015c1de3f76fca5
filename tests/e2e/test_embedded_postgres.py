"""The embedded Postgres trusts whoever reaches its socket, so only the platform's own user may reach it."""

import os
import pwd
import socket
import stat
from pathlib import Path

import psutil
import pytest

from platform_core.stack.guardian import socket_folder

REFUSED = 7


def server_of(stack) -> psutil.Process:
    return psutil.Process(int((stack.folder / "data" / "postgres" / "postmaster.pid").read_text().split()[0]))


def test_only_the_owner_reaches_the_socket(stack):
    folder = socket_folder(stack.folder / "data")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder.stat().st_uid == server_of(stack).uids().real


def test_another_local_user_cannot_connect(stack):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user: not tried here")
    nobody = pwd.getpwnam("nobody")
    path = socket_folder(stack.folder / "data") / ".s.PGSQL.5432"
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)
        try:
            socket.socket(socket.AF_UNIX).connect(str(path))
        except PermissionError:
            os._exit(REFUSED)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == REFUSED


def test_the_server_has_no_rights_of_the_user_who_started_it(stack):
    server = server_of(stack)
    if os.geteuid() != 0:
        assert server.uids().real == os.geteuid()
        return
    assert server.uids().real != 0
    assert server.gids().real != 0
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    groups = next(line for line in lines if line.startswith("Groups:"))
    assert groups.split()[1:] == []
