"""The admin of notification-service: read-only, with a retry of failed messages."""

import pytest
from django.contrib.auth.models import Permission, User

from notification_svc.models import Notification, WebhookDelivery, WebhookEndpoint
from platform_core.events.models import Event
from platform_core.outbox.models import OutboxMessage
from tests.admin_pages import *  # noqa: F403
from tests.admin_pages import act, done_job, said, url
from tests.notification_svc.conftest import NOBODY, deliver

pytestmark = pytest.mark.django_db(transaction=True)
SEARCHES = ("1", "ann@example.com")
READ_ONLY = [Notification, WebhookDelivery, WebhookEndpoint]
FORGED = {
    "status": "failed",
    "message": "Forged",
    "recipient": "x@x.org",
    "state": "pending",
    "key": "x",
    "url": "https://forged.example/",
}


@pytest.fixture
def rows(api, send, users):
    """Creates a row in each of the service's own tables."""
    send(key="k-1")
    deliver()
    webhook = api.post("/api/webhooks", {"url": "https://example.com/", "events": ["order.confirmed"]}).json()
    message = {"kind": "webhook.deliver", "destination": f"webhook:{webhook['id']}", "aggregate": "order:1"}
    WebhookDelivery.objects.create(**message, key="w-1", payload={"type": "order.confirmed"}, state="dead")


def test_the_secret_of_a_webhook_is_on_no_page(admin_client, rows):
    webhook = WebhookEndpoint.objects.get()
    for page in (url(webhook, "changelist"), url(webhook, "change", webhook.pk)):
        assert webhook.secret not in admin_client.get(page).content.decode()


def test_a_failed_message_is_tried_again_and_sent(admin_client, send, users, state, mailoutbox):
    failed, sent = send(userId=NOBODY), send()
    deliver()
    users.step = lambda request: (200, {}, '{"id": "404", "name": "New", "email": "new@example.com"}')
    answer = act(admin_client, Notification, "retry", Notification.objects.get(status="failed"))
    assert said(answer) == ["1 will be sent again."]
    assert (state(failed)["status"], state(sent)["status"]) == ("queued", "sent")
    deliver()
    assert state(failed)["status"] == "sent"
    assert [message.to for message in mailoutbox] == [["ann@example.com"], ["new@example.com"]]
    events = list(Event.objects.filter(subject=failed.json()["id"]).order_by("id").values_list("type", "data__version"))
    assert [kind for kind, _ in events] == ["notification.failed", "notification.sent"]
    assert events[0][1] < events[1][1]


def test_the_page_of_a_failed_message_sends_it_again(admin_client, send, users, state):
    failed = send(userId=NOBODY)
    page = url(Notification, "change", failed.json()["id"])
    resend = f"/admin/notification_svc/notification/{failed.json()['id']}/resend/"
    assert resend not in admin_client.get(page).content.decode(), "it has not failed yet"
    deliver()
    assert f'action="{resend}"' in admin_client.get(page).content.decode()
    assert admin_client.get(resend).status_code == 405
    for words in ("The message will be sent again.", "Nothing was done: the message has not failed"):
        assert said(admin_client.post(resend, follow=True))[0].startswith(words)
        assert state(failed)["status"] == "queued"


def test_the_page_of_a_message_leads_to_its_user_and_order(admin_client, send):
    note = send(type="order_shipped", data={"orderId": "12"}).json()
    html = admin_client.get(url(Notification, "change", note["id"])).content.decode()
    assert "/admin/order_svc/order/12/change/" in html
    assert f"/admin/user_svc/user/{note['userId']}/change/" in html
    other = send(type="newsletter", data={"orderId": "12"})
    assert "/admin/order_svc/" not in admin_client.get(url(Notification, "change", other.json()["id"])).content.decode()


def test_many_failed_messages_are_resent_by_a_job(admin_client, send, users, state):
    failed, sent = [send(userId=NOBODY) for _ in range(2)], send()
    deliver()
    answer = act(admin_client, Notification, "retry", *Notification.objects.all())
    for text in ("2 failed notifications will be sent again.", "1 cannot be resent and will be refused."):
        assert text in answer.content.decode()
    assert {state(each)["status"] for each in failed} == {"failed"}
    job = done_job(admin_client)
    assert (job.changed, job.refused) == (2, 1)
    assert job.items.get(state="refused").reason == "It is sent; only failed notifications are resent."
    assert [state(each)["status"] for each in (*failed, sent)] == ["queued", "queued", "sent"]


def test_a_message_that_fails_again_can_be_tried_again(admin_client, send, users, state):
    failed = send(userId=NOBODY)
    for _ in range(2):
        deliver()
        assert state(failed)["status"] == "failed"
        act(admin_client, Notification, "retry", *Notification.objects.all())
        assert state(failed)["status"] == "queued"


def test_redriving_a_dead_delivery_sends_the_message(admin_client, send, users, state, mailoutbox):
    failed = send(userId=NOBODY)
    deliver()
    users.step = lambda request: (200, {}, '{"id": "404", "name": "New", "email": "new@example.com"}')
    act(admin_client, OutboxMessage, "redrive_dead", *OutboxMessage.objects.all())
    deliver()
    after = state(failed)
    assert (after["status"], after["lastError"]) == ("sent", None)
    assert len(mailoutbox) == 1


def test_read_only_staff_cannot_run_actions(client, send, users, state):
    failed = send(userId=NOBODY)
    deliver()
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(*Permission.objects.filter(codename__startswith="view_"))
    client.force_login(viewer)
    assert client.get(url(Notification, "changelist")).status_code == 200
    act(client, Notification, "retry", *Notification.objects.all())
    resend = f"/admin/notification_svc/notification/{failed.json()['id']}/resend/"
    assert resend not in client.get(url(Notification, "change", failed.json()["id"])).content.decode()
    assert client.post(resend).status_code == 403
    act(client, OutboxMessage, "redrive_dead", *OutboxMessage.objects.all())
    assert state(failed)["status"] == "failed"
    assert OutboxMessage.objects.get().state == "dead"
