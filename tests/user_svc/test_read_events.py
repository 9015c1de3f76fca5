"""GET /api/events of user-service."""

import pytest

from platform_core.events.models import Event
from tests.wire import feed

shown = pytest.mark.django_db(transaction=True)
BOB = {"name": "Bob", "email": "bob@example.com"}


@shown
def test_every_change_has_one_event_in_order(api):
    bob = api.post("/api/users", BOB).json()["id"]
    api.patch(f"/api/users/{bob}", {"phone": "1"})
    ann = api.post("/api/users", {"name": "Ann", "email": "ann@example.com"}).json()["id"]
    api.put(f"/api/users/{bob}", BOB)
    api.delete(f"/api/users/{bob}")
    events = feed(api).json()
    assert [(event["type"], event["subject"]) for event in events] == [
        ("user.created", bob),
        ("user.updated", bob),
        ("user.created", ann),
        ("user.updated", bob),
        ("user.deleted", bob),
    ]
    assert {event["source"] for event in events} == {"user-service"}
    versions = [event["data"]["version"] for event in events if event["subject"] == bob]
    assert versions == sorted(set(versions))


@shown
def test_events_contain_no_personal_data(api):
    person = {**BOB, "phone": "+49 123", "address": "Elm", "password": "correct horse"}
    bob = api.post("/api/users", person).json()["id"]
    api.patch(f"/api/users/{bob}", {"name": "Robert"})
    text = str(feed(api).json())
    assert not any(word in text for word in ("Bob", "bob@", "+49", "Elm", "Robert", "argon2", "correct"))


@pytest.mark.django_db
@pytest.mark.parametrize(
    "method, path, body, headers",
    [
        ("post", "/api/users", {"name": ""}, {}),
        ("post", "/api/users", {"name": "x", "email": "ANN@example.com"}, {}),
        ("post", "/api/users", {"name": "x", "email": "ANN@example.com"}, {"Idempotency-Key": "k"}),
        ("patch", "/api/users/{id}", {"phone": "2"}, {"If-Match": '"9"'}),
        ("patch", "/api/users/{id}", {"email": "bob@example.com"}, {}),
        ("put", "/api/users/{id}", {"name": "x"}, {}),
        ("put", "/api/users/0", BOB, {}),
        ("delete", "/api/users/{id}", None, {"If-Match": '"9"'}),
        ("delete", "/api/users/0", None, {}),
    ],
)
def test_a_refused_change_writes_no_event(api, ann, method, path, body, headers):
    api.post("/api/users", BOB)
    before = Event.objects.count()
    answer = getattr(api, method)(path.format(**ann), *([body] if body else []), headers=headers)
    assert answer.status_code >= 400
    assert Event.objects.count() == before
