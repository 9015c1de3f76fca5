"""The limits that Postgres enforces are settings of the roles. No session has settings that a pooler would pass on."""

import os
import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.conf import settings
from psycopg import sql
from psycopg.conninfo import make_conninfo

from platform_core.conf.environment import ROOT, parsed
from platform_core.conf.settings import service_settings
from platform_core.db.role_limits import LIMITS, set_own_limits
from platform_core.db.waiting import open_session
from platform_core.stack.roles import ensure_limits, ensure_roles
from platform_core.topology import ORDER, SERVICES
from tests.e2e.stack import eventually
from tests.suites import SERVER_VARIABLE

ROLE, OTHER = "test_limits", "test_limits_other"


def as_role(role: str, **parameters: str) -> psycopg.Connection[Any]:
    return psycopg.connect(os.environ[SERVER_VARIABLE], user=role, autocommit=True, **parameters)


def limits_of(role: str, **parameters: str) -> dict[str, str]:
    """The limits of a new session."""
    with as_role(role, **parameters) as session:
        found = session.execute("SELECT name, reset_val FROM pg_settings WHERE name = ANY(%s)", [list(LIMITS)])
        return dict(found.fetchall())


@pytest.fixture
def owner() -> Iterator[psycopg.Connection[Any]]:
    """A session of the administrator, beside two roles without limits."""
    with psycopg.connect(os.environ[SERVER_VARIABLE], autocommit=True) as connection:
        for role in (ROLE, OTHER):
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
        yield connection
        for role in (ROLE, OTHER):
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@pytest.mark.parametrize("service", SERVICES)
def test_every_session_of_a_service_has_the_limits(service):
    assert limits_of(service.role) == LIMITS


def test_a_role_that_exists_gets_the_limits_at_the_next_start(owner):
    owner.execute("ALTER ROLE order_svc RESET statement_timeout")
    assert limits_of("order_svc")["statement_timeout"] == "0"
    ensure_roles(parsed({"DATABASE_URL": os.environ[SERVER_VARIABLE]}), create_databases=True)
    assert limits_of("order_svc") == LIMITS


def test_a_role_sets_its_own_limits(owner):
    with as_role(ROLE) as session:
        assert set_own_limits(session) is None
    assert limits_of(ROLE) == LIMITS


def test_a_role_that_may_not_says_what_an_owner_has_to_run(owner):
    owner.execute(f"GRANT {OTHER} TO {ROLE}".encode())
    with as_role(ROLE, options=f"-c role={OTHER}") as session:
        statements = set_own_limits(session)
    assert limits_of(ROLE) != LIMITS
    assert statements is not None
    owner.execute(statements.encode())
    assert limits_of(ROLE) == LIMITS


def test_a_superuser_is_left_as_it_is(owner):
    owner.execute(f"ALTER ROLE {ROLE} SUPERUSER".encode())
    with as_role(ROLE) as session:
        statements = set_own_limits(session)
    assert statements is not None and 'ALTER ROLE "test_limits" SET "statement_timeout" = \'31000\';' in statements
    assert limits_of(ROLE) != LIMITS


def test_migrate_sets_the_limits_of_a_service_with_a_database_of_its_own_or_says_that_it_may_not(owner):
    url = make_conninfo(os.environ[SERVER_VARIABLE], user=ROLE)
    values = {**parsed({"DATABASE_URL": os.environ[SERVER_VARIABLE]}), "ORDER_DATABASE_URL": url}
    assert ensure_limits(values) == []
    assert limits_of(ROLE) == LIMITS
    owner.execute(f"ALTER ROLE {ROLE} RESET ALL".encode())
    owner.execute(f"ALTER ROLE {ROLE} SUPERUSER".encode())
    (warning,) = ensure_limits(values)
    assert warning.startswith(f"The database role of {ORDER.name} may not set")
    assert 'ALTER ROLE "test_limits" SET "idle_in_transaction_session_timeout" = \'15000\';' in warning


def test_postgres_ends_the_statement_of_a_client_that_is_gone(owner):
    session = as_role("order_svc")
    pid = session.info.backend_pid
    session.pgconn.send_query(b"SELECT pg_sleep(25)")
    session.close()
    still = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
    eventually("ended", lambda: owner.execute(still, [pid]).fetchone() == (0,), 20)


def test_a_command_that_needs_more_time_lifts_the_limits_for_its_own_session():
    with open_session(os.environ[SERVER_VARIABLE], user="order_svc") as session:
        for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
            assert session.execute(f"SHOW {name}".encode()).fetchone() == ("0",)
    assert limits_of("order_svc") == LIMITS


def test_connections_send_no_startup_options():
    for service in SERVICES:
        database = service_settings(service.package, environment={"DATABASE_URL": "postgresql://a@b/c"})["DATABASES"]
        assert "options" not in database["default"]["OPTIONS"]
        assert database["default"]["DISABLE_SERVER_SIDE_CURSORS"]
    assert "options" not in settings.DATABASES["default"]["OPTIONS"]


_OF_A_SESSION = re.compile(
    r"""["']\s*(?:SET\s(?!LOCAL\b)|RESET\s|DISCARD\s|LISTEN\s|PREPARE\s|DEALLOCATE\s|LOAD\s)"""
    r"|\bpg_(?:try_)?advisory_(?:un)?lock(?:_shared|_all)?\("
    r"|\bset_config\((?!.*true\))|\bWITH HOLD\b|\bTEMP(?:ORARY)? TABLE\b"
)
"""What stays in a session after the transaction."""
MOVE = ROOT / "platform_core" / "tools" / "replication.py"
"""Has the sessions of two administrators, which do not go through a pooler: logical replication does not, either."""


def test_no_statement_leaves_anything_behind_in_its_session():
    folders = ("platform_core", *(service.package for service in SERVICES))
    found = [
        f"{path.relative_to(ROOT)}: {hit[0]}"
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if path != MOVE
        for hit in _OF_A_SESSION.finditer(path.read_text())
    ]
    assert found == []
