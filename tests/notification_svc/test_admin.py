"""The admin of notification-service: to look, and to try again."""

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User

from notification_svc.models import Notification
from platform_core.events.models import Event, FeedConsumer
from platform_core.models import IdempotencyKey
from platform_core.outbox.models import OutboxMessage
from tests.admin_pages import act, assert_filters_work, assert_pages_open, assert_untouchable, said, url
from tests.notification_svc.conftest import NOBODY, deliver

pytestmark = pytest.mark.django_db(transaction=True)
MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)
READ_ONLY = [Notification, Event, FeedConsumer, OutboxMessage, IdempotencyKey]


@pytest.fixture
def rows(api, send, users):
    """A row in each of the tables."""
    send(key="k-1")
    deliver()
    IdempotencyKey.objects.create(caller="c", key="k", fingerprint=b"x", status=201, body=b"{}")
    api.get("/api/events?lastEventId=0-0-0", headers={"Feed-Consumer": "somebody"})
    Group.objects.create(name="shop")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_every_table_can_be_listed_searched_filtered_and_opened(admin_client, rows, model):
    assert_pages_open(admin_client, model, "1", "ann@example.com")
    assert_filters_work(admin_client, model)


@pytest.mark.parametrize("model", READ_ONLY, ids=lambda model: model._meta.label)
def test_nothing_can_be_added_changed_or_deleted_by_hand(admin_client, rows, model):
    forged = {"status": "failed", "message": "Forged", "recipient": "x@x.org", "state": "pending", "key": "x"}
    assert_untouchable(admin_client, model, forged)


def test_a_failed_message_is_tried_again_and_sent(admin_client, send, users, state, mailoutbox):
    failed, sent = send(userId=NOBODY), send()
    deliver()
    users.step = lambda request: (200, {}, '{"id": "404", "name": "New", "email": "new@example.com"}')
    answer = act(admin_client, Notification, "retry", *Notification.objects.all())
    assert said(answer) == ["1 will be tried again."]
    assert (state(failed)["status"], state(sent)["status"]) == ("queued", "sent")
    deliver()
    assert state(failed)["status"] == "sent"
    assert [message.to for message in mailoutbox] == [["ann@example.com"], ["new@example.com"]]
    told = list(Event.objects.filter(subject=failed.json()["id"]).order_by("id").values_list("type", "data__version"))
    assert [kind for kind, _ in told] == ["notification.failed", "notification.sent"]
    assert told[0][1] < told[1][1]


def test_a_message_that_fails_again_can_be_tried_again(admin_client, send, users, state):
    failed = send(userId=NOBODY)
    for _ in range(2):
        deliver()
        assert state(failed)["status"] == "failed"
        act(admin_client, Notification, "retry", *Notification.objects.all())
        assert state(failed)["status"] == "queued"


def test_a_dead_delivery_that_is_driven_anew_sends_the_message_too(admin_client, send, users, state, mailoutbox):
    failed = send(userId=NOBODY)
    deliver()
    users.step = lambda request: (200, {}, '{"id": "404", "name": "New", "email": "new@example.com"}')
    act(admin_client, OutboxMessage, "redrive_dead", *OutboxMessage.objects.all())
    deliver()
    after = state(failed)
    assert (after["status"], after["lastError"]) == ("sent", None)
    assert len(mailoutbox) == 1


def test_who_may_only_look_can_do_nothing(client, send, users, state):
    failed = send(userId=NOBODY)
    deliver()
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(*Permission.objects.filter(codename__startswith="view_"))
    client.force_login(viewer)
    assert client.get(url(Notification, "changelist")).status_code == 200
    act(client, Notification, "retry", *Notification.objects.all())
    act(client, OutboxMessage, "redrive_dead", *OutboxMessage.objects.all())
    assert state(failed)["status"] == "failed"
    assert OutboxMessage.objects.get().state == "dead"


def test_a_stranger_is_sent_to_the_door(client):
    for model in MODELS:
        assert client.get(url(model, "changelist")).status_code == 302
