"""`up` leaves `migrate` out only where this same code has migrated, and nobody has changed the migrations since."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from platform_core.conf.environment import as_url, parsed
from platform_core.stack import supervisor
from platform_core.stack.migrated import code_fingerprint, is_migrated, note_migrated
from platform_core.stack.roles import ensure_roles
from platform_core.topology import ORDER, SERVICES, USER
from tests.suites import SERVER_VARIABLE

NAME = "test_migrated"


@pytest.fixture
def values() -> Iterator[dict[str, Any]]:
    """A database of its own with the five schemas; user-service's has been migrated."""
    server = os.environ[SERVER_VARIABLE]
    url = as_url({**psycopg.conninfo.conninfo_to_dict(server), "dbname": NAME})
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {NAME}".encode())
        values = parsed({"DATABASE_URL": url})
        ensure_roles(values)
        with psycopg.connect(url) as own:
            own.execute("SET ROLE user_svc")
            own.execute("CREATE TABLE user_svc.django_migrations (id serial, app text, name text)")
            own.execute("INSERT INTO user_svc.django_migrations (app, name) VALUES ('user_svc', '0001_initial')")
        note_migrated(USER, values, "this code")
        yield values
        connection.execute(f"DROP DATABASE {NAME} WITH (FORCE)".encode())


def change(values: dict[str, Any], statement: str) -> None:
    with psycopg.connect(values["DATABASE_URL"]) as connection:
        connection.execute(statement.encode())


def test_a_schema_that_this_code_has_migrated_needs_no_migrate(values):
    assert is_migrated(USER, values, "this code")


def test_another_code_migrates(values):
    assert not is_migrated(USER, values, "another code")
    note_migrated(USER, values, "another code")
    assert is_migrated(USER, values, "another code")
    assert not is_migrated(USER, values, "this code")


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO user_svc.django_migrations (app, name) VALUES ('user_svc', '0002_more')",
        "UPDATE user_svc.django_migrations SET name = '0001_other'",
        "DELETE FROM user_svc.django_migrations",
        "DROP TABLE user_svc.django_migrations",
        "COMMENT ON TABLE user_svc.django_migrations IS NULL",
        "ALTER ROLE user_svc NOLOGIN",
    ],
)
def test_what_somebody_has_changed_in_the_database_is_migrated(values, statement):
    try:
        change(values, statement)
        assert not is_migrated(USER, values, "this code")
    finally:
        change(values, "ALTER ROLE user_svc LOGIN")


def test_a_service_that_was_never_migrated_is(values):
    assert not is_migrated(ORDER, values, "this code")


def test_it_does_not_wait_for_who_holds_the_table(values):
    change(values, "ALTER ROLE user_svc IN DATABASE test_migrated SET statement_timeout = '20s'")  # if it did
    with psycopg.connect(values["DATABASE_URL"]) as connection:
        connection.execute("LOCK TABLE user_svc.django_migrations")
        began = time.monotonic()
        assert not is_migrated(USER, values, "this code")
        assert time.monotonic() - began < 15


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Some files of a project, and a folder with one installed package."""
    for name in ("order_svc/migrations/0001_initial.py", "order_svc/settings.py", "platform_core/outbox/models.py"):
        file = tmp_path / "project" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# {name}")
    (tmp_path / "installed" / "django-5.2.1.dist-info").mkdir(parents=True)
    return tmp_path


def fingerprint(project: Path) -> str:
    return code_fingerprint(project / "project", [str(project / "installed")])


CHANGES = {
    "a new migration": lambda home: (home / "project/order_svc/migrations/0002_more.py").write_text(""),
    "SQL beside the migrations": lambda home: (home / "project/order_svc/migrations/more.sql").write_text(""),
    "a changed migration": lambda home: (home / "project/order_svc/migrations/0001_initial.py").write_text("#"),
    "a removed migration": lambda home: (home / "project/order_svc/migrations/0001_initial.py").unlink(),
    "a renamed migration": lambda home: (home / "project/order_svc/migrations/0001_initial.py").rename(
        home / "project/order_svc/migrations/0001_other.py"
    ),
    "other settings": lambda home: (home / "project/order_svc/settings.py").write_text("APPS = []"),
    "another model of the library": lambda home: (home / "project/platform_core/outbox/models.py").write_text("#"),
    "another version of a package": lambda home: (home / "installed/django-5.2.1.dist-info").rename(
        home / "installed/django-5.2.2.dist-info"
    ),
    "one more package": lambda home: (home / "installed/unfold-1.dist-info").mkdir(),
}


@pytest.mark.parametrize("what", CHANGES)
def test_code_that_may_migrate_differently_has_another_fingerprint(project, what):
    before = fingerprint(project)
    assert fingerprint(project) == before
    CHANGES[what](project)
    assert fingerprint(project) != before


def test_what_does_not_matter_changes_no_fingerprint(project):
    before = fingerprint(project)
    for name in ("order_svc/README.md", "order_svc/__pycache__/settings.pyc", "docs/x.py", "tests/y.py"):
        file = project / "project" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("")
    assert fingerprint(project) == before


class Done:
    """A process that has succeeded."""

    returncode = 0

    def wait(self, seconds: float) -> bool:
        return True


def test_only_what_is_due_gets_a_process_and_is_noted(values, monkeypatch):
    started: list[str] = []

    def fork(title: str, *_: Any, **__: Any) -> Done:
        started.append(title)
        return Done()

    monkeypatch.setattr(supervisor, "fork", fork)
    monkeypatch.setattr(supervisor, "code_fingerprint", lambda: "this code")
    with psycopg.connect(values["DATABASE_URL"]) as connection:
        connection.execute("CREATE TABLE order_svc.django_migrations AS TABLE user_svc.django_migrations")
        connection.execute("ALTER TABLE order_svc.django_migrations OWNER TO order_svc")
    supervisor.migrate_all(values, {}, unless_current=True)
    assert "user-service migrate" not in started and len(started) == len(SERVICES) - 1
    assert is_migrated(ORDER, values, "this code")
    started.clear()
    supervisor.migrate_all(values, {}, unless_current=True)
    assert "order-service migrate" not in started and len(started) == len(SERVICES) - 2
    started.clear()
    supervisor.migrate_all(values, {})
    assert len(started) == len(SERVICES), "`manage.py migrate` always asks Django"
