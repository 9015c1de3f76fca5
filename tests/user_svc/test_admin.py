"""The admin of user-service."""

import pytest

from platform_core.events.models import Event
from platform_core.outbox import enqueue
from platform_core.topology import ORDER
from tests.admin_pages import *  # noqa: F403
from tests.admin_pages import act, done_job, url
from tests.wire import form_fields
from user_svc.models import User
from user_svc.services import erasure

pytestmark = pytest.mark.django_db
SEARCHES = ("ann", "5")
READ_ONLY = []
FORGED = {"type": "x", "key": "x", "status": 5, "subject": "9", "state": "delivered"}


@pytest.fixture
def rows(api, ann) -> None:
    """Creates a row in each of the service's own tables."""
    api.post("/api/users", {"name": "Bob", "email": "bob@example.com"})
    api.post("/api/auth/password-reset", {"email": "bob@example.com"})
    enqueue(erasure(5, ORDER))


def test_adding_a_user_writes_an_event(admin_client):
    answer = admin_client.post(url(User, "add"), {"name": "Ann", "email": "ann@example.com", "is_active": "on"})
    assert answer.status_code == 302
    assert User.objects.get().name == "Ann"
    assert Event.objects.get().type == "user.created"


def test_changing_a_user_writes_an_event(admin_client, ann):
    page = url(User, "change", ann["id"])
    form = form_fields(admin_client.get(page).content.decode())
    assert form["is_active"]
    del form["is_active"]
    assert admin_client.post(page, {**form, "email": "new@example.com"}).status_code == 302
    user = User.objects.get()
    assert (user.name, user.email, user.is_active, user.version) == ("Ann", "new@example.com", False, 2)
    assert Event.objects.first().type == "user.updated"
    assert Event.objects.first().data["isActive"] is False


def test_the_page_of_a_user_leads_to_their_orders_and_messages(admin_client, ann):
    html = admin_client.get(url(User, "change", ann["id"])).content.decode()
    assert f"/admin/order_svc/order/?customer={ann['id']}" in html
    assert f"/admin/notification_svc/notification/?user={ann['id']}" in html
    assert "/admin/order_svc/" not in admin_client.get(url(User, "add")).content.decode()


def test_a_form_does_not_undo_concurrent_changes(admin_client, api, ann):
    page = url(User, "change", ann["id"])
    form = form_fields(admin_client.get(page).content.decode())
    api.patch(f"/api/users/{ann['id']}", {"phone": "new"})
    assert admin_client.post(page, {**form, "name": "Anna"}).status_code == 302
    user = User.objects.get()
    assert (user.name, user.phone, user.is_active) == ("Anna", "new", True)


def test_the_form_reports_an_email_that_is_taken(admin_client, ann):
    answer = admin_client.post(url(User, "add"), {"name": "Other", "email": "ANN@example.com", "is_active": "on"})
    assert answer.status_code == 200
    assert "Another user has this email address." in answer.content.decode()
    assert User.objects.count() == 1


def test_deleting_a_user_writes_an_event(admin_client, ann):
    assert admin_client.get(url(User, "delete", ann["id"])).status_code == 200
    assert admin_client.post(url(User, "delete", ann["id"]), {"post": "yes"}).status_code == 302
    assert not User.objects.exists()
    assert Event.objects.first().type == "user.deleted"


def test_several_users_can_be_deleted_together(admin_client, rows):
    answer = act(admin_client, User, "delete_selected", *User.objects.all())
    assert "2 accounts will be deleted with all personal data" in answer.content.decode()
    assert User.objects.count() == 2
    assert done_job(admin_client).changed == 2
    assert not User.objects.exists()
    assert Event.objects.filter(type="user.deleted").count() == 2


def test_passwords_are_never_shown(admin_client, api, ann):
    api.patch(f"/api/users/{ann['id']}", {"password": "correct horse battery"})
    for page in (url(User, "changelist"), url(User, "change", ann["id"])):
        assert "argon2" not in admin_client.get(page).content.decode()
