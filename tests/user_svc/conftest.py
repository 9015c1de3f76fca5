import json
import re
import threading
import time
from typing import Any

import pytest


@pytest.fixture
def ann(api) -> dict[str, Any]:
    """An existing user."""
    body = {"name": "Ann", "email": "ann@example.com", "phone": "+1 555", "address": "1 Elm Street"}
    user: dict[str, Any] = api.post("/api/users", body).json()
    return user


PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def _cheap_hashes(request, monkeypatch) -> None:
    """Hashes take 64 KiB, without `production_hashes`: hundreds of larger ones took a fifth of the suite's time."""
    from platform_core.auth.hashers import Argon2Hasher

    if "production_hashes" not in request.fixturenames:
        monkeypatch.setattr(Argon2Hasher, "memory_cost", 64)


@pytest.fixture
def production_hashes() -> None:
    """Passwords are hashed with the parameters of production."""


@pytest.fixture(autouse=True)
def _fresh_keys() -> None:
    """Each test has signing keys of its own."""
    from platform_core.auth import tokens

    tokens.forget()


@pytest.fixture
def account(api, ann) -> dict[str, Any]:
    """Ann, with a password."""
    assert api.patch(f"/api/users/{ann['id']}", {"password": PASSWORD}).status_code == 200
    return ann


@pytest.fixture
def sign_in(api):
    """Requests tokens and returns the response."""

    def sign_in(email: str = "ann@example.com", password: str = PASSWORD, address: str = "203.0.113.7", **meta: str):
        body = {"email": email, "password": password}
        return api.client.post("/api/auth/token", body, format="json", REMOTE_ADDR=address, **meta)

    return sign_in


@pytest.fixture
def session(account, sign_in) -> dict[str, Any]:
    """Ann is signed in."""
    answer = sign_in()
    assert answer.status_code == 200, answer.content
    pair: dict[str, Any] = answer.json()
    return pair


@pytest.fixture
def person(api):
    """Creates a customer, or with roles a staff account, without a password (hashing is slow). Returns the id."""
    from user_svc.services import create_user

    def person(email: str, *roles: str, **profile: Any) -> int:
        return create_user(name=email.split("@")[0], email=email, roles=list(roles), **profile).pk

    return person


@pytest.fixture
def as_user(settings):
    """Headers with an access token that user-service has signed, without a session: whether it goes on is not asked."""
    settings.LIVE_SESSIONS = ""
    from platform_core.auth.tokens import AUDIENCE
    from user_svc.signing import access_token

    def headers(user_id: Any, *roles: str, auth_time: Any = None, **others: str) -> dict[str, str]:
        claims = {"iss": "user-service", "aud": AUDIENCE, "sub": str(user_id), "roles": list(roles), "sid": ""}
        claims["auth_time"] = int(time.time()) if auth_time is None else auth_time
        return {"Authorization": f"Bearer {access_token(claims)}", **others}

    return headers


class Mails(list[dict[str, Any]]):
    """The messages that notification-service has taken. Tests may set ``status``, its answer."""

    status = 201

    def take(self, request: Any) -> Any:
        if self.status == 201:
            self.append({**json.loads(request.body), "key": request.headers["Idempotency-Key"]})
        return self.status, {}, "{}"

    def tokens(self) -> list[str]:
        """The tokens in the links, oldest first."""
        return [token for mail in self for token in re.findall(r"#token=(\S+)", mail["message"])]


@pytest.fixture
def mails(peers, settings) -> Mails:
    """Notification-service, as user-service's worker sees it."""
    settings.OUTBOX_CONCURRENCY = 1  # one after the other, so that they come in the order of the outbox
    taken = Mails()
    url = settings.PEER_URLS["notification-service"] + "/api/notifications/send"
    peers.add_callback("POST", url, callback=taken.take)
    return taken


def deliver() -> None:
    """Delivers the outbox until nothing more is due."""
    from platform_core.outbox.lanes import deliver_due
    from user_svc import tasks

    while deliver_due("notification-service", tasks.HANDLERS, threading.Event()):
        pass
