"""The pytest plugin of all suites.

It picks the suite's settings, and starts a Postgres if none was given, so that plain `pytest tests/order_svc` works.
Property tests use the same examples in every run. `--search` runs only them, with more and random examples.
Tests marked `nightly` run with `--all` only: slow ones, of whose kind others run always.
"""

import os
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.suites import SERVER_VARIABLE, SETTINGS, TESTS, plain_environment, temporary_server

EXAMPLES = 50
SEARCHED_EXAMPLES = 500
_resources = ExitStack()
pytest.register_assert_rewrite("tests.wire")


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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--search", action="store_true", help="run only the property tests, on random examples")
    parser.addoption("--all", action="store_true", help="run the slow tests, too, that are marked as nightly")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "nightly: slow; runs with --all")
    config.addinivalue_line("markers", "searching: takes random examples with --search, as hypothesis' tests do")
    common = {"deadline": None, "suppress_health_check": list(HealthCheck)}
    settings.register_profile("fixed", derandomize=True, max_examples=EXAMPLES, **common)
    settings.register_profile("search", max_examples=SEARCHED_EXAMPLES, print_blob=True, **common)
    settings.load_profile("search" if config.getoption("--search") else "fixed")


@pytest.hookimpl(trylast=True)  # hypothesis has marked its tests by then
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--all") and not config.getoption("--search"):
        nightly = [each for each in items if each.get_closest_marker("nightly")]
        config.hook.pytest_deselected(items=nightly)
        items[:] = [each for each in items if each not in nightly]
    if config.getoption("--search"):
        others = [each for each in items if not any(map(each.get_closest_marker, ("hypothesis", "searching")))]
        config.hook.pytest_deselected(items=others)
        items[:] = [each for each in items if each not in others]


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
