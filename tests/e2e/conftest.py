"""One platform for the suite, and fresh ones for the tests that kill it."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_core.topology import PRODUCT, USER
from tests.e2e.stack import Shop, Stack, eventually, own_folder, temporary_stack

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    with own_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def stack(folder: Path) -> Iterator[Stack]:
    shared = Stack(folder)
    shared.folder.mkdir(exist_ok=True)
    try:
        yield shared.up()
    finally:
        shared.stop()


@pytest.fixture(scope="session")
def template() -> Iterator[Path]:
    """A data folder after `manage.py migrate`."""
    with temporary_stack() as stack:
        done = stack.run("migrate")
        assert done.returncode == 0, done.stderr
        eventually("Postgres has stopped", lambda: not stack.processes())
        yield stack.folder / "data"


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
