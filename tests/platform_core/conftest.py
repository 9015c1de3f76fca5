from typing import Any

import pytest


@pytest.fixture
def note(api) -> dict[str, Any]:
    """An existing note in its first version."""
    body = {"name": "Ann", "label": "ann@example.com", "text": "1 Elm Street"}
    made: dict[str, Any] = api.post("/api/notes", body).json()
    return made
