"""Lets plain `pytest tests/order_svc` work: picks the suite's settings, and starts a Postgres if none was given."""

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.suites import SERVER_VARIABLE, SETTINGS, TESTS, plain_environment, temporary_server

_resources = ExitStack()


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    suites = {suite for argument in args if (suite := _suite_of(argument))}
    if len(suites) != 1:
        raise pytest.UsageError(
            "one suite at a time, since each has settings of its own: pytest tests/order_svc …; "
            "`python -m tests` runs them all"
        )
    (suite,) = suites
    kept = plain_environment()
    os.environ.clear()
    os.environ.update(kept)
    if settings := SETTINGS[suite]:
        os.environ["DJANGO_SETTINGS_MODULE"] = settings
        if SERVER_VARIABLE not in os.environ:
            os.environ[SERVER_VARIABLE] = _resources.enter_context(temporary_server())
        os.environ["DATABASE_URL"] = os.environ[SERVER_VARIABLE]
        os.environ["KEYS_DIR"] = str(TESTS / "no-keys")  # services sign nothing, unless a test gives them keys


def pytest_unconfigure() -> None:
    _resources.close()


def _suite_of(argument: str) -> str | None:
    if argument.startswith("-"):
        return None
    path = Path(argument.split("::")[0]).resolve()
    if path != TESTS and TESTS in path.parents:
        name = path.relative_to(TESTS).parts[0]
        return name if name in SETTINGS else None
    return None
