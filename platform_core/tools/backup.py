"""``manage.py backup`` and ``manage.py restore``: a dump of all schemas from one snapshot, in one file.

A restore fills a new database. Then one transaction renames the present database and the new one, which takes its
place. If a restore fails or is killed earlier, the platform is unchanged, and the next restore removes what is left.
"""

import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from platform_core.conf.environment import as_url, owner_url
from platform_core.conf.failpoints import reached
from platform_core.db.waiting import open_connection
from platform_core.stack import StackError, lives_there, pg_tools, raise_epochs_here, was_used
from platform_core.topology import SERVICES

_CLOSING_SECONDS = 2.0
_NEW, _OLD = "_restoring", "_replaced"
"""The endings of the names of the database that a restore fills, and of the one that it replaces."""


def back_up(values: Mapping[str, Any], file: Path, *, is_embedded: bool) -> None:
    """Write a dump of the database of DATABASE_URL. An existing file is replaced after the dump is complete.

    Raises StackError.
    """
    url = str(owner_url(values))
    _refuse_several_databases(values)
    tool = pg_tools.find_tool("pg_dump", url, is_embedded=is_embedded)
    part = file.with_name(f".{file.name}.part")
    try:
        part.touch()  # raises OSError if the folder cannot be written
        pg_tools.run_tool(tool, url, "--format=custom", "--lock-wait-timeout=10s", "--file", str(part))
        part.replace(file)
    except OSError as error:
        raise StackError(f"{file} cannot be written: {error.strerror}.") from None
    finally:
        with suppress(OSError):
            part.unlink()


def restore(values: Mapping[str, Any], file: Path, *, is_embedded: bool, force: bool) -> None:
    """Replace the database of DATABASE_URL by the backup in ``file``, and raise the feeds' epochs.

    The roles must exist. If the database has been used, the user must confirm on the terminal, unless ``force`` is set.
    Raises StackError.
    """
    url = str(owner_url(values))
    _refuse_several_databases(values)
    tool = pg_tools.find_tool("pg_restore", url, is_embedded=is_embedded)
    _check(tool, file)
    name = str(conninfo_to_dict(url)["dbname"])
    _refuse_while_in_use(url, name)
    if not force:
        _confirm(url, name)
    try:
        _replace(url, name, tool, file)
    except psycopg.errors.InsufficientPrivilege as error:
        raise StackError(f"The user of DATABASE_URL lacks a right: {_line(error)}. Use a user that has it.") from None
    except psycopg.errors.ObjectInUse:
        raise StackError("The platform was started during the restore. Stop it first. Nothing has changed.") from None


def _replace(url: str, name: str, tool: str, file: Path) -> None:
    new, old = name + _NEW, name + _OLD
    with open_connection(_with_database(url, "postgres"), autocommit=True) as connection:
        _drop(connection, new)
        _drop(connection, old)
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(new)))
        try:
            pg_tools.run_tool(tool, _with_database(url, new), "--exit-on-error", str(file))
            with (
                open_connection(_with_database(url, new)) as restored,
                open_connection(_with_database(url, name)) as present,
            ):
                raise_epochs_here(restored, present)
            reached("restore.filled")
            with connection.transaction():
                _rename(connection, name, old)
                _rename(connection, new, name)
                reached("restore.renamed")
        except BaseException:
            _drop(connection, new)
            raise
        reached("restore.replaced")
        _drop(connection, old)


def _drop(connection: psycopg.Connection[Any], name: str) -> None:
    """Drop a database if it exists, and end its connections: a killed restore may still have one."""
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _rename(connection: psycopg.Connection[Any], old: str, new: str) -> None:
    connection.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new)))


def _with_database(url: str, name: str) -> str:
    return as_url({**conninfo_to_dict(url), "dbname": name})


def _refuse_several_databases(values: Mapping[str, Any]) -> None:
    """Raises StackError if one dump cannot contain all five schemas."""
    elsewhere = [service for service in SERVICES if not owner_url(values) or not lives_there(service, values)]
    if elsewhere:
        names = ", ".join(service.database_url_variable for service in elsewhere)
        raise StackError(
            f"{names}: back up and restore separate databases one by one, as docs/operations.md describes."
        )


def _check(tool: str, file: Path) -> None:
    """Raises StackError unless the file is a dump of the five services."""
    try:
        file.open("rb").close()
    except OSError as error:
        raise StackError(f"{file}: {error.strerror}.") from None
    done = subprocess.run([tool, "--list", str(file)], capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise StackError(f"{file} is not a backup: {done.stderr.strip().splitlines()[-1]}")
    missing = [service.name for service in SERVICES if f" SCHEMA - {service.role} " not in done.stdout]
    if missing:
        raise StackError(f"{file} is not a backup of this platform: it does not contain {', '.join(missing)}.")


def _refuse_while_in_use(url: str, name: str) -> None:
    """Raises StackError if clients are connected. Waits briefly, because closing a connection takes a moment."""
    until = time.monotonic() + _CLOSING_SECONDS
    with open_connection(_with_database(url, "postgres"), autocommit=True) as connection:
        while in_use := _connections(connection, name):
            if time.monotonic() > until:
                raise StackError(f"The database {name} is in use by {in_use} connections: stop the platform first.")
            time.sleep(0.1)


def _connections(connection: psycopg.Connection[Any], name: str) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
    row = connection.execute(query, [name]).fetchone()
    return int(row[0]) if row else 0


def _confirm(url: str, name: str) -> None:
    with open_connection(url) as connection:
        if not was_used(connection):
            return
    refusal = f"The database {name} contains data. Back it up, then use --force to replace it."
    if not sys.stdin.isatty():
        raise StackError(refusal)
    if input(f"The database {name} contains data. Replace all of it? Type yes: ").strip() != "yes":
        raise StackError("Nothing has changed.")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
