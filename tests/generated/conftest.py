"""One platform for the clients of all languages."""

from collections.abc import Iterator

import pytest

from tests.e2e.stack import Stack, temporary_stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    with temporary_stack() as own:
        yield own.up()
