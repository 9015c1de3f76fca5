"""Deleting a user erases the person at all services; `export_person` writes what they hold."""

import json
import re
import stat
import threading

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User as Account
from django.core.management import CommandError, call_command

from platform_core.auth import staff
from platform_core.clients import StaffAccount
from platform_core.models import ErasedPerson
from platform_core.outbox.models import OutboxMessage
from tests.admin_pages import act, url
from tests.user_svc.conftest import PASSWORD
from tests.wire import at_once
from user_svc import tasks
from user_svc.models import Session, User

pytestmark = pytest.mark.django_db(transaction=True)
OTHERS = ["product-service", "order-service", "notification-service", "analytics-service"]


class Services:
    """The other services' route for persons. ``status`` is the answer of each to an erasure."""

    def __init__(self, peers, urls):
        self.status = dict.fromkeys(OTHERS, 204)
        self.asked = []
        for name in OTHERS:
            address = re.compile(re.escape(urls[name]) + r"/api/people/\d+(\?.*)?$")
            peers.add_callback("DELETE", address, callback=lambda request, name=name: self.erase(name, request))
            peers.add_callback("GET", address, callback=lambda request, name=name: self.tell(name, request))

    def erase(self, name, request):
        self.asked.append((name, request.path_url))
        return self.status[name], {}, ""

    def tell(self, name, request):
        if self.status[name] == 503:
            return 503, {}, ""
        path, _, query = request.path_url.partition("?")
        if query:
            return 200, {}, json.dumps({"results": [{"table": "second", "row": {"id": 2}}], "next": None})
        page = {"results": [{"table": "first", "row": {"id": 1, "service": name}}], "next": f"{path}?after=0-1&limit=1"}
        return 200, {}, json.dumps(page)


@pytest.fixture
def services(peers, settings) -> Services:
    return Services(peers, settings.PEER_URLS)


def deliver():
    while tasks.erase_due(threading.Event()):
        pass


def time_passes():
    from datetime import timedelta

    from django.utils.timezone import now

    OutboxMessage.objects.update(available_at=now() - timedelta(seconds=1))


def test_every_other_service_is_told_once(api, ann, services):
    api.delete(f"/api/users/{ann['id']}")
    for _ in range(2):
        deliver()
        time_passes()
    assert sorted(services.asked) == sorted((name, f"/api/people/{ann['id']}") for name in OTHERS)
    assert set(OutboxMessage.objects.values_list("state", flat=True)) == {"delivered"}


@pytest.mark.parametrize("status", [500, 503, 404, 401, 403, 409, 422])
def test_a_service_that_refuses_is_asked_again_and_holds_up_no_other(api, ann, services, status):
    """The command is never given up."""
    services.status["order-service"] = status
    api.delete(f"/api/users/{ann['id']}")
    OutboxMessage.objects.update(attempts=1000)
    deliver()
    states = dict(OutboxMessage.objects.values_list("key", "state"))
    assert states.pop(f"person-{ann['id']}-erase-order") == "pending"
    assert set(states.values()) == {"delivered"}
    services.status["order-service"] = 204
    time_passes()
    deliver()
    assert not OutboxMessage.objects.exclude(state="delivered").exists()


def test_the_command_is_written_with_the_deletion_or_not_at_all(api, ann, services):
    assert api.delete(f"/api/users/{ann['id']}", headers={"If-Match": '"7"'}).status_code == 412
    assert not OutboxMessage.objects.exists() and not ErasedPerson.objects.exists()
    at_once([lambda: api.delete(f"/api/users/{ann['id']}")] * 4)
    assert OutboxMessage.objects.count() == len(OTHERS)


def test_the_outbox_holds_no_personal_data(api, ann):
    api.delete(f"/api/users/{ann['id']}")
    for payload in OutboxMessage.objects.values_list("payload", flat=True):
        assert payload.keys() == {"userId", "service"}


@pytest.mark.parametrize("way", ["one", "several"])
def test_the_history_of_the_admin_forgets_the_name(admin_client, ann, way):
    user = User.objects.get()
    admin_client.post(url(User, "change", user.pk), {"name": "Anna", "email": user.email, "is_active": "on"})
    assert "ann@example.com" in " ".join(LogEntry.objects.values_list("object_repr", flat=True))
    if way == "one":
        admin_client.post(url(User, "delete", user.pk), {"post": "yes"})
    else:
        act(admin_client, User, "delete_selected", user)
        admin_client.post(
            url(User, "changelist"), {"action": "delete_selected", "_selected_action": user.pk, "post": "yes"}
        )
    assert not User.objects.exists()
    assert LogEntry.objects.count() == 2
    assert set(LogEntry.objects.values_list("object_repr", flat=True)) == {f"user {user.pk}"}


def test_the_shadow_of_a_member_of_the_staff_is_erased(api, person):
    pk = person("boss@example.com", "admin")
    other = person("other@example.com", "admin")
    for each, email in ((pk, "boss@example.com"), (other, "other@example.com")):
        staff.shadow(StaffAccount(str(each), "Boss", email, ["admin"], "stamp"))
    assert api.delete(f"/api/users/{pk}").status_code == 204
    left = Account.objects.get(username=f"staff:{pk}")
    assert (left.email, left.first_name, left.last_name) == ("", "", "")
    assert not (left.is_active or left.is_staff or left.is_superuser or left.groups.exists())
    assert Account.objects.get(username=f"staff:{other}").email == "other@example.com"


def test_a_sign_in_that_ends_after_the_erasure_leaves_no_shadow(api, person):
    pk = person("boss@example.com", "admin")
    api.delete(f"/api/users/{pk}")
    assert staff.shadow(StaffAccount(str(pk), "Boss", "boss@example.com", ["admin"], "stamp")) is None
    assert not Account.objects.exists()


def test_the_export_has_the_rows_of_all_services(session, ann, services, capsys):
    call_command("export_person", "ANN@example.com")
    found = json.loads(capsys.readouterr().out)
    assert found["userId"] == ann["id"]
    own = found["services"].pop("user-service")
    (user,) = own["user_svc_user"]
    assert (user["name"], user["address"], user["phone"]) == ("Ann", "1 Elm Street", "+1 555")
    assert [row["id"] for row in own["user_svc_session"]] == [str(Session.objects.get().pk)]
    for name in OTHERS:
        assert found["services"][name] == {"first": [{"id": 1, "service": name}], "second": [{"id": 2}]}


def test_the_export_holds_no_password(session, services, capsys):
    call_command("export_person", "ann@example.com")
    text = capsys.readouterr().out
    assert User.objects.get().password not in text and PASSWORD not in text and "argon2" not in text


def test_the_export_can_go_to_a_file_for_its_owner_alone(ann, services, tmp_path, capsys):
    path = tmp_path / "ann.json"
    call_command("export_person", "ann@example.com", output=str(path))
    assert json.loads(path.read_text())["userId"] == ann["id"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert capsys.readouterr().out == ""


def test_an_export_without_an_answer_of_every_service_fails(ann, services, tmp_path):
    services.status["notification-service"] = 503
    with pytest.raises(CommandError, match="notification-service does not say what it holds"):
        call_command("export_person", "ann@example.com", output=str(tmp_path / "ann.json"))
    assert not (tmp_path / "ann.json").exists()


def test_the_export_of_somebody_unknown_fails(ann, services):
    with pytest.raises(CommandError, match=r"no user with the address 'x@example\.com'"):
        call_command("export_person", "x@example.com")
