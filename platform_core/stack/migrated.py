"""Whether the schemas are as the last complete `migrate` of this code left them, asked without Django.

`migrate` costs a process for each service, which imports Django, the models and all migrations, and mostly finds
nothing to do. So after it has succeeded, a comment on each `django_migrations` table holds a fingerprint of what it
depends on. The comment is part of a dump, so a restored schema says itself which code it fits.
"""

import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from platform_core.conf.environment import ROOT, database_parts
from platform_core.db.waiting import open_connection
from platform_core.topology import SERVICES, Service

_PACKAGES = ("platform_core", *(service.package for service in SERVICES))
_APPLIED = "SELECT md5(string_agg(app || '.' || name, ',' ORDER BY id)) FROM {}"
_COMMENT = "SELECT obj_description(to_regclass(%s), 'pg_class')"
_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '1s'"


def code_fingerprint(root: Path = ROOT, places: Iterable[str] = tuple(sys.path)) -> str:
    """A hash of all that decides what `migrate` does: the project's code, the installed packages, and Python.

    Not of the migrations alone: settings name the apps, and `migrate` also writes the permissions of the models. A
    package that is edited where it is installed is not noticed.
    """
    found = hashlib.sha256(sys.version.encode())
    for path in sorted(_sources(root)):
        found.update(f"\0{path.relative_to(root)}\0".encode())
        found.update(hashlib.sha256(path.read_bytes()).digest())
    for path in sorted(each for place in places for each in Path(place or ".").glob("*.dist-info")):
        found.update(f"\0{path.name} {path.stat().st_mtime_ns}".encode())
    return found.hexdigest()


def _sources(root: Path) -> Iterator[Path]:
    """The Python files of the platform's packages, and whatever else lies beside migrations."""
    for package in _PACKAGES:
        for path in (root / package).rglob("*"):
            if path.suffix == ".py" or (path.parent.name == "migrations" and path.is_file()):
                yield path


def is_migrated(service: Service, values: Mapping[str, Any], code: str) -> bool:
    """Whether a service's schema is as `migrate` of the code with this fingerprint left it. False if in doubt."""
    try:
        with open_connection(**(database_parts(service, values) or {})) as connection:
            connection.execute(_LOCK_TIMEOUT)
            comment = connection.execute(_COMMENT, [f"{service.role}.django_migrations"]).fetchone()
            return bool(comment and comment[0]) and comment == (_fingerprint(connection, service, code),)
    except psycopg.Error:
        return False  # `migrate` says what is wrong


def note_migrated(service: Service, values: Mapping[str, Any], code: str) -> None:
    """Record that `migrate` of the code with this fingerprint has succeeded. Raises psycopg.Error."""
    with open_connection(**(database_parts(service, values) or {})) as connection:
        connection.execute(_LOCK_TIMEOUT)
        comment = sql.Literal(_fingerprint(connection, service, code))
        connection.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(_table(service), comment))


def _fingerprint(connection: psycopg.Connection[Any], service: Service, code: str) -> str:
    """Of the code, and of the migrations that are applied: somebody may have taken some back."""
    row = connection.execute(sql.SQL(_APPLIED).format(_table(service))).fetchone()
    return f"migrated: code {code}, applied {row[0] if row else None}"


def _table(service: Service) -> sql.Identifier:
    return sql.Identifier(service.role, "django_migrations")
