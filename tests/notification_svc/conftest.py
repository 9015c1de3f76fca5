"""A fake of user-service, a mailbox, and a worker."""

import json
import re
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.utils.timezone import now

ANN, NOBODY = 1, 404
HELLO = {"userId": ANN, "message": "Your parcel waits.", "subject": "Hello"}


class UserService:
    """A user-service that knows Ann. Tests may replace ``step``."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.step: Any = self.know

    def answer(self, request: Any) -> Any:
        self.asked.append(request)
        return self.step(request)

    def know(self, request: Any) -> Any:
        if request.path_url != f"/api/users/{ANN}":
            body = {"type": "about:blank", "title": "Not Found", "status": 404, "detail": "No.", "code": "not_found"}
            return 404, {"Content-Type": "application/problem+json"}, json.dumps(body)
        return 200, {}, json.dumps({"id": "1", "name": "Ann", "email": "ann@example.com"})


@pytest.fixture
def users(peers, settings) -> UserService:
    service = UserService()
    url = re.escape(settings.PEER_URLS["user-service"])
    peers.add_callback("GET", re.compile(url + r"/api/users/\d+$"), callback=service.answer)
    return service


@pytest.fixture
def send(api):
    """Sends a message and returns the response."""

    def send(body: Any = None, key: str | None = None, **fields: Any) -> Any:
        wanted = {**(HELLO if body is None else body), **fields} if body is None or fields else body
        headers = {"Idempotency-Key": key} if key else None
        return api.post("/api/notifications/send", wanted, headers=headers)

    return send


@pytest.fixture
def state(api):
    """A notification as its user's list shows it."""

    def state(answer: Any) -> dict[str, Any]:
        sent = answer.json()
        results = api.get(f"/api/notifications/{sent['userId']}").json()["results"]
        (found,) = (each for each in results if each["id"] == sent["id"])
        return dict(found)

    return state


def deliver() -> None:
    """Delivers to all channels, with lanes of its own, until nothing more is due."""
    from notification_svc import channels, tasks
    from platform_core.outbox.lanes import deliver_due

    for channel in channels.HANDLERS:
        while deliver_due(channel, tasks.HANDLERS, threading.Event()):
            pass


def deliver_one() -> None:
    """Delivers one mail in this thread, without a lane."""
    from notification_svc import tasks
    from platform_core.outbox.delivery import attempt
    from platform_core.outbox.leases import Lease
    from platform_core.outbox.queue import claim

    for message in claim("email", 1):
        assert attempt(message, tasks.HANDLERS, Lease(message, float("inf")))


def time_passes() -> None:
    """Makes waiting messages due."""
    from platform_core.outbox.models import OutboxMessage

    OutboxMessage.objects.update(available_at=now() - timedelta(seconds=1))
