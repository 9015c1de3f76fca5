"""`up` migrates what is not migrated, although it leaves `migrate` out where this same code has migrated already."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.e2e.scratch.copy import Copy
from tests.e2e.stack import Stack, own_folder

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


def test_a_new_migration_is_applied_by_the_next_start_and_again_after_a_restore(stack, project, tmp_path):
    file = tmp_path / "before.backup"
    assert stack.run("backup", str(file)).returncode == 0
    project.add("user_svc/models.py", "phone =", 'language = models.CharField(max_length=8, blank=True, default="")')
    project.succeeds("manage.py", "user_svc", "makemigrations", DATABASE_URL=NOWHERE)
    assert has_column(stack.up())
    stack.stop()
    assert stack.run("restore", str(file), "--force").returncode == 0
    assert has_column(stack.up())
