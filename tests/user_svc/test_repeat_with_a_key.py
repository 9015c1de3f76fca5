"""POST /api/users with an Idempotency-Key. The library's own suite tests keys in general."""

import pytest
from argon2.low_level import hash_secret_raw
from django.db import connection
from django.test.utils import CaptureQueriesContext

from platform_core.api import erase_answers, idempotency
from platform_core.auth.hashers import Argon2Hasher
from platform_core.events.models import Event
from platform_core.models import IdempotencyKey
from tests.admin_pages import act, url
from tests.wire import assert_problem, rows_read
from user_svc.models import User

pytestmark = pytest.mark.django_db
ANN = {"name": "Ann", "email": "ann@example.com", "password": "correct horse battery"}
BOB = {"name": "Bob", "email": "bob@example.com"}
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


def test_a_repetition_after_a_change_of_the_secret_key_gets_the_first_answer(api, settings):
    first = api.post("/api/users", ANN, headers=KEY)
    settings.SECRET_KEY = "another key of fifty characters and more, for sure it is"
    again = api.post("/api/users", ANN, headers=KEY)
    assert (again.status_code, again.content) == (201, first.content)
    assert_problem(api.post("/api/users", {**ANN, "password": "other"}, headers=KEY), 422, "idempotency_key_reused")


def test_guessing_a_password_from_a_fingerprint_costs_as_much_as_from_its_hash(api, monkeypatch):
    costs = []
    monkeypatch.setattr(
        idempotency,
        "hash_secret_raw",
        lambda *args, **options: costs.append(options) or hash_secret_raw(*args, **options),
    )
    api.post("/api/users", ANN, headers=KEY)
    assert [(cost["time_cost"], cost["memory_cost"]) for cost in costs] == [
        (Argon2Hasher.time_cost, Argon2Hasher.memory_cost)
    ]
    one = IdempotencyKey.objects.get().fingerprint
    api.post("/api/users", ANN, headers={"Idempotency-Key": "k-2"})  # 409: the address is taken
    two = IdempotencyKey.objects.get(key="k-2").fingerprint
    assert bytes(one) != bytes(two), "equal passwords are not recognised by their fingerprints"


@pytest.mark.parametrize("delete", ["by the API", "by the admin"])
def test_deleting_a_user_erases_the_stored_answers_and_a_repetition_creates_nothing(api, admin_client, delete):
    made = api.post("/api/users", ANN, headers=KEY)
    other = api.post("/api/users", BOB, headers={"Idempotency-Key": "k-2"})
    user = User.objects.get(email="ann@example.com")
    if delete == "by the API":
        assert api.delete(made["Location"]).status_code == 204
    else:
        act(admin_client, User, "delete_selected", user)
        admin_client.post(url(User, "delete", user.pk), {"post": "yes"})
    assert not User.objects.filter(pk=user.pk).exists()
    again = api.post("/api/users", ANN, headers=KEY)
    assert_problem(again, 404, "not_found")
    assert b"ann@" not in again.content
    assert_problem(api.post("/api/users", {**ANN, "name": "Anna"}, headers=KEY), 404, "not_found")
    assert User.objects.count() == 1
    kept = IdempotencyKey.objects.get(key="k-1")
    assert (bytes(kept.body), kept.headers, bytes(kept.fingerprint)) == (b"", {}, b"")
    assert api.post(
        "/api/users", {"name": "Bob", "email": "bob@example.com"}, headers={"Idempotency-Key": "k-2"}
    ).content == (other.content)


def test_the_stored_answers_of_a_user_are_found_by_index(api):
    IdempotencyKey.objects.bulk_create(
        IdempotencyKey(
            caller="c",
            key=f"k{n}",
            fingerprint=b"",
            status=201,
            body=b"",
            headers={"Location": f"/api/users/{10**6 + n}"},
        )
        for n in range(3000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE platform_core_idempotencykey")
    with CaptureQueriesContext(connection) as captured:
        assert erase_answers("/api/users/1000007") == 1
    (statement,) = [query["sql"] for query in captured if query["sql"].startswith("UPDATE")]
    assert rows_read(statement) < 100
