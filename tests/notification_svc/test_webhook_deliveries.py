"""The list of webhook deliveries in the admin: what it shows, what it reads, and delivering again."""

import re
import threading

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.timezone import now

from notification_svc.webhooks.models import WebhookDelivery, WebhookEndpoint
from platform_core.jobs import Job, run_jobs
from platform_core.outbox import OutboxMessage
from tests.admin_pages import act, said, url
from tests.clients import Browser
from tests.lists import assert_page_is_cheap

pytestmark = pytest.mark.django_db


@pytest.fixture
def endpoint():
    return WebhookEndpoint.objects.create(url="https://erp.example.com/hook", events=["order.confirmed"], secret="x")


@pytest.fixture
def delivery(endpoint):
    numbers = iter(range(1, 1000))

    def make(state="dead", **changes):
        n = next(numbers)
        body = '{"type":"order.confirmed","data":{"total":19.90}}'
        payload = {"source": "order-service", "eventId": f"1-{n}-1", "type": "order.confirmed", "subject": "7"}
        values = {
            "kind": "webhook.deliver", "destination": f"webhook:{endpoint.pk}", "aggregate": "order:7",
            "key": f"webhook-{endpoint.pk}-{n}", "payload": {**payload, "body": body}, "state": state, "attempts": 3,
            "last_error": "NotAccepted: The endpoint answered 500." if state != "delivered" else "",
            "request_id": "req-7", "traceparent": "", "delivered_at": now() if state == "delivered" else None,
        }  # fmt: skip
        return WebhookDelivery.objects.create(**values | changes)

    return make


def listed(client, query=""):
    return [each.pk for each in client.get(url(WebhookDelivery, "changelist") + query).context["cl"].result_list]


def test_a_row_says_what_went_where_and_what_came_of_it(admin_client, delivery, endpoint):
    delivery("dead")
    delivery("delivered")
    html = admin_client.get(url(WebhookDelivery, "changelist")).content.decode()
    for text in ("order.confirmed", endpoint.url, "The endpoint answered 500.", "accepted", "order 7", "given up"):
        assert text in html, text
    assert re.search(r"<br>delivered \d{4}-\d\d-\d\d", html)
    assert "NotAccepted" not in html
    assert ":8003/admin/order_svc/order/7/change/" in html
    assert reverse("admin:notification_svc_webhookendpoint_change", args=[endpoint.pk]) in html


def test_the_page_of_a_delivery_shows_the_event(admin_client, delivery, endpoint):
    page = admin_client.get(url(WebhookDelivery, "change", delivery("dead").pk)).content.decode()
    assert "&quot;total&quot;: 19.90" in page and "The endpoint answered 500." in page and endpoint.url in page
    assert ":8003/admin/order_svc/order/7/change/" in page


def test_other_messages_of_the_outbox_are_not_listed(admin_client, delivery):
    delivery("dead", kind="mail.send")
    assert listed(admin_client) == []


def test_filters_and_views(admin_client, delivery, endpoint):
    dead, waiting, done = (delivery(state) for state in ("dead", "pending", "delivered"))
    other = delivery("dead", destination="webhook:99", aggregate="user:8")
    assert listed(admin_client, "?state=dead") == [other.pk, dead.pk]
    assert listed(admin_client, "?state=pending") == [waiting.pk]
    assert listed(admin_client, f"?webhook={endpoint.pk}") == [done.pk, waiting.pk, dead.pk]
    assert listed(admin_client, "?q=user:8") == listed(admin_client, f"?q={other.key}") == [other.pk]
    assert "webhook 99, deleted" in admin_client.get(url(WebhookDelivery, "changelist")).content.decode()
    answer = admin_client.get(url(WebhookDelivery, "changelist") + "?webhook=erp")
    assert said(answer) == ["webhook: expected a webhook's id."]


def test_a_list_of_any_length_costs_the_same_queries(admin_client, delivery):
    counts = []
    for _ in range(2):
        for state in ("dead", "delivered", "pending"):
            delivery(state)
        with CaptureQueriesContext(connection) as captured:
            admin_client.get(url(WebhookDelivery, "changelist"))
        counts.append(len(captured))
    assert counts[0] == counts[1]


def test_one_is_delivered_again_at_once(admin_client, delivery, admin_user):
    for state in ("dead", "delivered", "pending"):
        row = delivery(state, available_at="2999-01-01T00:00:00Z")
        answer = act(admin_client, WebhookDelivery, "redeliver", row)
        assert said(answer) == [f"Delivery {row.pk} will be attempted now."]
        row.refresh_from_db()
        assert row.state == "pending" and row.available_at <= now(), state
    assert LogEntry.objects.filter(user=admin_user).count() == 3
    assert not Job.objects.exists()


def test_none_is_delivered_to_a_disabled_or_deleted_webhook(admin_client, delivery, endpoint):
    row, lost = delivery("dead"), delivery("dead", destination="webhook:99")
    WebhookEndpoint.objects.update(enabled=False)
    for each in (row, lost):
        (message,) = said(act(admin_client, WebhookDelivery, "redeliver", each))
        assert "The webhook is disabled" in message or "deleted" in message
        each.refresh_from_db()
        assert each.state == "dead"


def test_many_are_delivered_again_by_a_job(admin_client, delivery):
    rows = [delivery("dead"), delivery("delivered"), delivery("dead", destination="webhook:99")]
    page = act(admin_client, WebhookDelivery, "redeliver", *rows).content.decode()
    assert "2 events will be delivered again." in page and "1 of them was accepted before" in page
    assert "1 will be refused: the webhook is disabled or deleted." in page
    job = Job.objects.get()
    admin_client.post(reverse("admin:jobs_job_confirm", args=[job.pk]))
    while run_jobs(threading.Event()):
        pass
    job.refresh_from_db()
    assert (job.state, job.changed, job.refused) == ("done", 2, 1)
    assert list(OutboxMessage.objects.order_by("pk").values_list("state", flat=True)) == ["pending", "pending", "dead"]


def test_only_who_may_change_them_delivers_them_again(delivery):
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_webhookdelivery"))
    viewer = Browser()
    viewer.force_login(user)
    row = delivery("dead")
    assert listed(viewer) == [row.pk]
    act(viewer, WebhookDelivery, "redeliver", row)
    row.refresh_from_db()
    assert row.state == "dead"


ROWS = 20_000
QUERIES = ("", "?state=dead", "?state=pending", "?state=delivered", "?webhook=1", "?webhook=2", "?q=order:77", "?q=k77")


def test_no_list_reads_all_messages(admin_client, subtests):
    """Beside many mails and deliveries, the newest of each filter are found."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO {OutboxMessage._meta.db_table}
                (kind, destination, aggregate, key, payload, state, attempts, available_at, last_error, request_id,
                 traceparent, created_at)
            SELECT CASE WHEN n % 4 = 0 AND n < {ROWS} / 2 THEN 'webhook.deliver' ELSE 'mail.send' END,
                   CASE WHEN n % 4 = 0 AND n < {ROWS} / 2 THEN 'webhook:' || 1 + n / 4 % 2 ELSE 'email' END,
                   'order:' || n, 'k' || n, '{{"type": "order.confirmed", "source": "order-service"}}',
                   CASE WHEN n % 1000 = 0 THEN 'dead' ELSE 'delivered' END, 0, now(), '', 'req', '', now()
            FROM generate_series(1, {ROWS}) AS n
            """
        )
        cursor.execute("ANALYZE")
    for query in QUERIES:
        with subtests.test(query):
            assert_page_is_cheap(admin_client, WebhookDelivery, query)
