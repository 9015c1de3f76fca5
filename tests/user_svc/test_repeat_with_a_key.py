"""POST /api/users with an Idempotency-Key. The library's own suite tests keys in general."""

import pytest

from platform_core.events.models import Event
from platform_core.models import IdempotencyKey
from tests.wire import assert_problem
from user_svc.models import User

pytestmark = pytest.mark.django_db
ANN = {"name": "Ann", "email": "ann@example.com", "password": "correct horse battery"}
KEY = {"Idempotency-Key": "k-1"}


def test_a_repetition_gets_the_first_answer_and_creates_no_second_user(api):
    first = api.post("/api/users", ANN, headers=KEY)
    assert first.status_code == 201
    again = api.post("/api/users", ANN, headers=KEY)
    assert (again.status_code, again["Idempotent-Replayed"]) == (201, "true")
    assert again.content == first.content
    assert User.objects.count() == Event.objects.count() == 1
    assert_problem(api.post("/api/users", {**ANN, "name": "Anna"}, headers=KEY), 422, "idempotency_key_reused")


def test_no_password_is_kept_with_the_key(api):
    api.post("/api/users", ANN, headers=KEY)
    row = IdempotencyKey.objects.get()
    assert b"correct horse" not in bytes(row.body) + bytes(row.fingerprint)
