"""The people of the demo."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from platform_core.api.json import encode
from platform_core.events.models import Event
from platform_core.tools.demo_data import Calendar, Spec
from user_svc import demo
from user_svc.models import User
from user_svc.services import delete_user, snapshot

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 6, 17, 12, tzinfo=UTC)
SPEC = Spec(seed=7, users=60, products=0, orders=0, now=NOW)


def ids(spec: Spec = SPEC) -> list[int]:
    return [row["id"] for row in rows(spec)]


def rows(spec: Spec = SPEC) -> list[dict[str, Any]]:
    """The users as they are passed to order-service."""
    return [msgspec.json.decode(row) for batch in demo.users(spec, iter(())) for row in batch.rows]


def test_demo_users_have_reserved_addresses_and_events(api):
    found = ids()
    for user in User.objects.all():
        assert user.email.endswith(("@example.com", "@example.org"))
        assert user.name.split()[0].lower() == user.email.split(".")[0]
        event = Event.objects.get(subject=str(user.pk))
        assert (event.type, event.time) == ("user.created", user.created_at)
        assert event.data == msgspec.json.decode(encode(snapshot(user)))
    assert api.get("/api/users?limit=1").json()["results"][0]["id"] == str(found[-1])
    assert api.get(f"/api/users?search={User.objects.first().name}").json()["results"]


def test_existing_users_are_kept_and_missing_users_are_created():
    found = ids()
    assert ids() == found
    delete_user(found[3], None)
    again = ids(msgspec.structs.replace(SPEC, users=62))
    assert again[:3] + again[4:60] == found[:3] + found[4:]
    assert User.objects.count() == 62


def test_order_service_gets_names_and_addresses_of_new_and_existing_users():
    new = rows()
    kept = {user.pk: user for user in User.objects.all()}
    assert len(kept) == len(new) == 60
    for row in new:
        user = kept[row["id"]]
        assert row == {"id": user.pk, "name": user.name, "email": user.email, "address": user.address}
    assert rows() == new


def test_another_seed_brings_other_people():
    assert set(ids()).isdisjoint(ids(msgspec.structs.replace(SPEC, seed=8)))
    assert User.objects.count() == 120


def test_demo_times_are_ordered_in_the_past_and_denser_at_weekends():
    calendar = Calendar(SPEC)
    moments = [calendar.moment(n / 5000) for n in range(5001)]
    assert moments == sorted(moments)
    assert moments[0] == calendar.start
    assert moments[-1] == calendar.end < NOW
    by_weekday = [sum(moment.weekday() == day for moment in moments) for day in range(7)]
    assert min(by_weekday[5:]) > max(by_weekday[:4])
    assert sum(2 <= moment.hour < 5 for moment in moments) < sum(19 <= moment.hour < 22 for moment in moments) / 5
