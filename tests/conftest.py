"""Shared by all Django suites: API clients, and peers that are faked at the transport."""

import os
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def api() -> Any:
    """Calls the service's own URLs in-process, as a JSON client would."""
    from tests.clients import Api

    return Api()


@pytest.fixture
def send(api: Any) -> Any:
    """Sends raw bytes."""

    def send(method: str, path: str, body: bytes | str, content_type: str = "application/json", **headers: str) -> Any:
        return api.client.generic(method, path, body, content_type=content_type, headers=headers)

    return send


@pytest.fixture
def client() -> Any:
    """A browser. It replaces pytest-django's fixture."""
    from tests.clients import Browser

    return Browser()


@pytest.fixture
def admin_client(admin_user: Any) -> Any:
    """A browser that is signed in as a local administrator. It replaces pytest-django's fixture."""
    from tests.clients import Browser

    browser = Browser()
    browser.force_login(admin_user)
    return browser


@pytest.fixture(autouse=True)
def _fresh_peers(request: pytest.FixtureRequest) -> None:
    """Resets all breakers."""
    if os.environ.get("DJANGO_SETTINGS_MODULE"):
        from platform_core.clients.peers import forget

        forget()


@pytest.fixture(autouse=True)
def _lanes_end_their_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends the threads of a lane as soon as it has nothing to do. Their connections would keep the test database."""
    if os.environ.get("DJANGO_SETTINGS_MODULE"):
        monkeypatch.setattr("platform_core.outbox.lanes.LINGER_SECONDS", 0.0)


@pytest.fixture
def known_callers(settings: Any) -> Iterator[None]:
    """Trusts the keys of `tests.people`."""
    from platform_core.auth import tokens
    from tests import people

    settings.ACCOUNTS = "tests.people"
    settings.LIVE_SESSIONS = ""
    settings.SERVICE_KEYS = people.public_service_keys()
    tokens.forget()
    yield
    tokens.forget()


@pytest.fixture
def production(settings: Any, known_callers: None) -> None:
    """Requires authentication, as in production."""
    settings.PLATFORM_ENV = "production"


@pytest.fixture(scope="session", autouse=True)
def statements_are_captured_with_their_values() -> None:
    """Disables prepared statements, so that captured statements have parameters and can be explained."""
    from django.apps import apps

    if not apps.ready:  # a suite that drives the platform from outside
        return
    from django.db.backends.postgresql.operations import DatabaseOperations

    def last_executed_query(operations: Any, cursor: Any, sql: Any, params: Any) -> Any:
        return operations.compose_sql(sql, params) if params else sql

    DatabaseOperations.last_executed_query = last_executed_query  # type: ignore[method-assign]


@pytest.fixture(scope="session", autouse=True)
def tables_are_emptied_by_delete() -> None:
    """After a test with real transactions Django truncates all tables, which makes new files for each and its indexes.
    Deleting the few rows takes a third of the CPU. Content types and permissions are kept: they would be made again.
    """
    from django.apps import apps

    if not apps.ready:
        return
    from django.db.backends.postgresql.operations import DatabaseOperations

    kept = {"django_content_type", "auth_permission"}

    def sql_flush(operations: Any, style: Any, tables: Any, **options: Any) -> list[str]:
        return ["; ".join(f"DELETE FROM {operations.quote_name(table)}" for table in tables if table not in kept)]

    DatabaseOperations.sql_flush = sql_flush  # type: ignore[method-assign]


@pytest.fixture
def peers() -> Iterator[Any]:
    """`responses` instead of the network. Requests that a test does not expect are refused like a closed port."""
    with mocked_network() as mock:
        yield mock


def mocked_network() -> Any:
    """Replaces only the adapter of the typed clients with `responses`."""
    import responses

    from platform_core.clients.connections import Adapter

    target = f"{Adapter.__module__}.{Adapter.__qualname__}.send"
    return responses.RequestsMock(assert_all_requests_are_fired=False, target=target, real_adapter_send=Adapter.send)
