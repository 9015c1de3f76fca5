"""What all Django suites share: an API client, and a peer that is faked at the transport."""

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
    """Sends bytes as they are."""

    def send(method: str, path: str, body: bytes | str, content_type: str = "application/json", **headers: str) -> Any:
        return api.client.generic(method, path, body, content_type=content_type, headers=headers)

    return send


@pytest.fixture
def client() -> Any:
    """A browser, in the place of pytest-django's."""
    from tests.clients import Browser

    return Browser()


@pytest.fixture
def admin_client(admin_user: Any) -> Any:
    """A browser in which a local administrator is signed in, in the place of pytest-django's."""
    from tests.clients import Browser

    browser = Browser()
    browser.force_login(admin_user)
    return browser


@pytest.fixture(autouse=True)
def _fresh_peers(request: pytest.FixtureRequest) -> None:
    """No breaker remembers what an earlier test did to a peer."""
    if os.environ.get("DJANGO_SETTINGS_MODULE"):
        from platform_core.clients.peers import forget

        forget()


@pytest.fixture
def known_callers(settings: Any) -> Iterator[None]:
    """The people and services of `tests.people` are known here."""
    from platform_core.auth import tokens
    from tests import people

    settings.ACCOUNTS = "tests.people"
    settings.SERVICE_KEYS = people.public_service_keys()
    tokens.forget()
    yield
    tokens.forget()


@pytest.fixture
def production(settings: Any, known_callers: None) -> None:
    """Nobody gets in without a proof."""
    settings.PLATFORM_ENV = "production"


@pytest.fixture(scope="session", autouse=True)
def statements_are_told_with_their_values() -> None:
    """A captured statement can then be run again, to see its plan; of a prepared one Django tells the text alone."""
    from django.apps import apps

    if not apps.ready:  # a suite that drives the platform from outside
        return
    from django.db.backends.postgresql.operations import DatabaseOperations

    def told(operations: Any, cursor: Any, sql: Any, params: Any) -> Any:
        return operations.compose_sql(sql, params) if params else sql

    DatabaseOperations.last_executed_query = told  # type: ignore[method-assign]


@pytest.fixture
def peers() -> Iterator[Any]:
    """`responses` in the place of the network: what no test has allowed is refused as if nobody listened."""
    with mocked_network() as mock:
        yield mock


def mocked_network() -> Any:
    """`responses` in the place of the adapter that the clients use, and of no other."""
    import responses

    from platform_core.clients.connections import Adapter

    target = f"{Adapter.__module__}.{Adapter.__qualname__}.send"
    return responses.RequestsMock(assert_all_requests_are_fired=False, target=target, real_adapter_send=Adapter.send)
