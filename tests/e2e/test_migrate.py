"""`migrate`, also of one service alone. `up` leaves it out only where this same code has migrated already."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from platform_core.conf.environment import parsed
from platform_core.stack import postgres
from platform_core.stack.roles import ensure_roles
from platform_core.stack.supervisor import health_of
from platform_core.topology import PRODUCT, USER
from tests.e2e.scratch.copy import Copy
from tests.e2e.stack import TIMEOUT, Stack, eventually, own_folder

NOWHERE = "postgresql://nobody@localhost/none"
HAS_COLUMN = (
    "SELECT count(*) FROM information_schema.columns "
    "WHERE (table_schema, table_name, column_name) = ('user_svc', 'user_svc_user', 'language')"
)


@pytest.fixture
def home() -> Iterator[Path]:
    with own_folder() as folder:
        yield folder


@pytest.fixture
def project(home: Path) -> Copy:
    return Copy(home)


@pytest.fixture
def stack(home: Path, project: Copy, template: Path) -> Iterator[Stack]:
    """A migrated platform that runs the code of the copy."""
    stack = Stack(home, template, root=project.folder)
    try:
        yield stack.prepare()
    finally:
        stack.stop()


def has_column(stack: Stack) -> bool:
    with psycopg.connect(stack.database_url()) as connection:
        return connection.execute(HAS_COLUMN).fetchone() == (1,)


@pytest.mark.nightly
def test_a_new_migration_is_applied_by_the_next_start_and_again_after_a_restore(stack, project, tmp_path):
    file = tmp_path / "before.backup"
    assert stack.run("backup", str(file)).returncode == 0
    project.add("user_svc/models.py", "phone =", 'language = models.CharField(max_length=8, blank=True, default="")')
    project.succeeds("manage.py", "user_svc", "makemigrations", DATABASE_URL=NOWHERE)
    assert has_column(stack.up())
    stack.stop()
    assert stack.run("restore", str(file), "--force").returncode == 0
    assert has_column(stack.up())


def test_a_service_alone_migrates_and_serves_on_its_own_port_beside_another(own_stack):
    environment = {"DJANGO_SUPERUSER_PASSWORD": "a-fine-password"}
    assert own_stack.run("user_svc", "migrate", "--verbosity", "0").returncode == 0
    made = own_stack.run(
        *("user_svc", "createsuperuser", "--no-input", "--username", "root", "--email", "root@example.com"),
        **environment,
    )
    assert made.returncode == 0, made.stderr
    own_stack.await_end()
    servers = [
        subprocess.Popen(
            own_stack.command(service.package, "runserver"),
            env={**own_stack.environment, "PORT": str(own_stack.ports[service.package])},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for service in (USER, PRODUCT)
    ]
    try:
        eventually("user-service", lambda: health_of(own_stack.url(USER), "/health/ready")[0] == 200, TIMEOUT)
        eventually("product-service", lambda: health_of(own_stack.url(PRODUCT), "/health")[0] == 200, TIMEOUT)
        assert health_of(own_stack.url(PRODUCT), "/health/ready")[0] == 503  # its migrations are missing
        servers[0].send_signal(signal.SIGINT)
        servers[0].wait(TIMEOUT)
        assert health_of(own_stack.url(PRODUCT), "/health")[0] == 200  # the other one keeps Postgres
    finally:
        for server in servers:
            if server.poll() is None:
                server.send_signal(signal.SIGINT)
                server.wait(TIMEOUT)
    own_stack.await_end()


SLOW_FIRST_TABLE = """
    CREATE FUNCTION public.wait_for_the_first_table() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NOT EXISTS (SELECT FROM pg_tables WHERE schemaname = current_user) THEN PERFORM pg_sleep(6); END IF;
    END $$;
    CREATE EVENT TRIGGER slow ON ddl_command_start WHEN TAG IN ('CREATE TABLE')
        EXECUTE FUNCTION public.wait_for_the_first_table();
    GRANT USAGE ON SCHEMA public TO user_svc;
"""


@pytest.mark.nightly
def test_a_migration_may_take_longer_than_a_request_but_waits_for_no_lock_for_longer(own_stack):
    server = postgres.acquire(own_stack.folder / "data")
    try:
        ensure_roles(parsed({"DATABASE_URL": server.url}))
        with psycopg.connect(server.url) as connection:
            connection.execute(SLOW_FIRST_TABLE)
        done = own_stack.run("migrate")
        assert done.returncode == 0, done.stderr
        with psycopg.connect(server.url) as connection:
            connection.execute("LOCK TABLE order_svc.django_migrations")
            done = own_stack.run("migrate")
        assert done.returncode == 1
        assert "order-service failed" in done.stderr and "lock timeout" in done.stderr
    finally:
        server.release()
