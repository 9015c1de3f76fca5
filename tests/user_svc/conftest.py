from typing import Any

import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("tests.wire")
settings.register_profile(
    "suite", max_examples=50, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
settings.load_profile("suite")


@pytest.fixture
def ann(api) -> dict[str, Any]:
    """A user that is there already."""
    body = {"name": "Ann", "email": "ann@example.com", "phone": "+1 555", "address": "1 Elm Street"}
    user: dict[str, Any] = api.post("/api/users", body).json()
    return user


@pytest.fixture
def send(api):
    """Sends bytes as they are."""

    def send(method: str, path: str, body: bytes | str, content_type: str = "application/json", **headers: str):
        return api.client.generic(method, path, body, content_type=content_type, headers=headers)

    return send
