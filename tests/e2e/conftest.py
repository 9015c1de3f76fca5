"""One platform for each process of the suite, and others for the tests that kill it."""

import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_core.stack.processes import locked
from platform_core.topology import PRODUCT, USER
from tests.e2e.stack import Shop, Stack, copy_data, eventually, own_folder, temporary_stack

SHARED = "TESTS_E2E_FOLDER"
"""Names a folder that the processes of this run of the suite share."""
_numbers = itertools.count(1)
_folders: list[tempfile.TemporaryDirectory[str]] = []


def pytest_configure(config: pytest.Config) -> None:
    if SHARED not in os.environ:  # the processes of pytest-xdist inherit it
        _folders.append(tempfile.TemporaryDirectory(prefix="platform-e2e-shared-"))
        os.environ[SHARED] = _folders[0].name


def pytest_unconfigure() -> None:
    while _folders:
        _folders.pop().cleanup()
        del os.environ[SHARED]


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    with own_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def stack(folder: Path, template: Path) -> Iterator[Stack]:
    shared = Stack(folder, template)
    shared.folder.mkdir(exist_ok=True)
    try:
        yield shared.up(WEB_CONCURRENCY="2")  # as in production
    finally:
        shared.stop()


@pytest.fixture(scope="session")
def template() -> Path:
    """A data folder after `manage.py migrate`. The processes of the suite make it once, and only copy it."""
    shared = Path(os.environ[SHARED])
    lock = locked(shared / "template.lock")
    assert lock is not None
    with lock:
        if not (shared / "template").exists():
            with temporary_stack() as stack:
                done = stack.run("migrate")
                assert done.returncode == 0, done.stderr
                eventually("Postgres has stopped", lambda: not stack.processes())
                copy_data(stack.folder / "data", shared / "copying")
                (shared / "copying").rename(shared / "template")
    return shared / "template"


@pytest.fixture
def own_stack(template: Path) -> Iterator[Stack]:
    """A platform that is not started yet. It is stopped after the test."""
    with temporary_stack(template) as stack:
        yield stack


@pytest.fixture
def shop(stack: Stack) -> Shop:
    return Shop(stack)


@pytest.fixture
def user(shop: Shop) -> dict[str, str]:
    return shop.made(USER, "/api/users", name="Ann", email=f"ann{next(_numbers)}@example.com")


@pytest.fixture
def product(shop: Shop) -> dict[str, str]:
    return shop.made(PRODUCT, "/api/products", name="Lamp", price=19.99, stock=10)
