"""POST /api/users."""

import pytest

pytestmark = pytest.mark.django_db


def test_it_answers_201_with_the_user_and_where_it_is(api):
    response = api.post("/api/users", {"name": " Ann ", "email": "ann@example.com"})
    assert response.status_code == 201
    assert response.json()["name"] == "Ann"
    assert response["Location"] == f"/api/users/{response.json()['id']}"
