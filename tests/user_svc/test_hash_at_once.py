"""Hashes take some of a process's threads, never all of them."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher, check_password, make_password

from platform_core.api.idempotency import fingerprint_of
from platform_core.auth import hashers
from platform_core.http.errors import Unavailable
from tests.wire import assert_problem
from user_svc import services

pytestmark = pytest.mark.django_db


@pytest.fixture
def places(settings):
    """Sets the number of places."""

    def set_to(number: int) -> None:
        settings.HASH_PLACES = number
        hashers._places.cache_clear()

    yield set_to
    hashers._places.cache_clear()


def test_no_more_hashes_run_at_once_than_there_are_places(places, monkeypatch):
    places(2)
    running, most, lock = 0, 0, threading.Lock()
    original = Argon2PasswordHasher.verify

    def counted(self, password, encoded):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)  # as long as a hash takes in production
        try:
            return original(self, password, encoded)
        finally:
            with lock:
                running -= 1

    stored = make_password("correct horse battery")
    monkeypatch.setattr(Argon2PasswordHasher, "verify", counted)
    monkeypatch.setattr(hashers, "WAIT_SECONDS", 60.0)
    with ThreadPoolExecutor(8) as threads:
        right = list(threads.map(lambda _: check_password("correct horse battery", stored), range(24)))
    assert right == [True] * 24
    assert most == 2


def test_without_a_free_place_a_sign_in_is_a_503(api, account, sign_in, places, monkeypatch):
    places(1)
    monkeypatch.setattr(hashers, "WAIT_SECONDS", 0.01)
    with hashers.hash_place():
        answer = sign_in()
        assert_problem(answer, 503, "unavailable")
        assert answer["Retry-After"] == "1"
        assert api.get("/api/users").status_code == 200
    assert sign_in().status_code == 200


def test_without_a_free_place_nothing_counts_as_a_guess(api, account, session, sign_in, places, monkeypatch):
    places(1)
    monkeypatch.setattr(hashers, "WAIT_SECONDS", 0.01)
    headers = {"Authorization": f"Bearer {session['access']}"}
    body = {"current": "correct horse battery", "new": "another horse battery"}
    with hashers.hash_place():
        for _ in range(11):
            assert_problem(api.post("/api/users/me/password", body, headers=headers), 503, "unavailable")
            assert_problem(sign_in(), 503, "unavailable")
    assert api.post("/api/users/me/password", body, headers=headers).status_code == 204


def test_without_a_free_place_the_admins_sign_in_says_so(client, account, places, monkeypatch):
    services.update_user(int(account["id"]), None, roles=["admin"])
    places(1)
    monkeypatch.setattr(hashers, "WAIT_SECONDS", 0.01)
    form = {"username": account["email"], "password": "correct horse battery"}
    with hashers.hash_place():
        for _ in range(11):
            page = client.post("/admin/login/", form)
            assert page.status_code == 200
            assert "Too many passwords are being checked at once." in page.content.decode()
    assert client.post("/admin/login/", form).status_code == 302


def test_the_fingerprint_of_a_body_with_a_password_needs_a_place_too(places, monkeypatch):
    places(1)
    monkeypatch.setattr(hashers, "WAIT_SECONDS", 0.01)
    with hashers.hash_place(), pytest.raises(Unavailable):
        fingerprint_of("/api/users", {"password": "correct horse battery"})
    assert len(fingerprint_of("/api/users", {"password": "correct horse battery"})) == 32


def test_a_place_is_free_again_after_an_error(places, monkeypatch):
    places(1)
    monkeypatch.setattr(hashers, "WAIT_SECONDS", 0.01)
    with pytest.raises(RuntimeError), hashers.hash_place():
        raise RuntimeError
    with hashers.hash_place(), pytest.raises(Unavailable), hashers.hash_place():
        pass


@pytest.mark.parametrize("password", ["ann.of.example@example.com", "Ann.of.Example", "Ann Of Example 1"])
def test_a_password_like_the_own_name_or_email_is_refused(api, password):
    person = {"name": "Ann of Example", "email": "ann.of.example@example.com"}
    assert_problem(api.post("/api/users", {**person, "password": password}), 400, "invalid", ["password"])
    made = api.post("/api/users", {**person, "password": "correct horse battery"}).json()
    assert_problem(api.patch(f"/api/users/{made['id']}", {"password": password}), 400, "invalid", ["password"])


def test_a_changed_password_like_the_own_email_is_refused(api, account, sign_in, session):
    headers = {"Authorization": f"Bearer {session['access']}"}
    body = {"current": "correct horse battery", "new": account["email"]}
    answer = api.post("/api/users/me/password", body, headers=headers)
    assert_problem(answer, 400, "invalid", ["new"])
    assert sign_in().status_code == 200
