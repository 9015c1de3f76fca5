"""The list of notifications in the admin: searches, filters, and what they read of a large table."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils.timezone import now

from notification_svc.models import Notification
from tests.admin_pages import said, url
from tests.lists import assert_page_is_cheap

pytestmark = pytest.mark.django_db
ROWS = 20_000


@pytest.fixture
def crowd():
    """Notifications of four years: most are sent, a few have failed."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO {Notification._meta.db_table}
                (user_id, type, channel, recipient, subject, message, status, attempts, caller, sender_key,
                 created_at, updated_at, version)
            SELECT n % 3000, 'order_confirmed', CASE WHEN n % 500 = 0 THEN 'log' ELSE 'email' END,
                   'ann' || n % 3000 || '@example.com', 's', 'm',
                   CASE WHEN n % 400 = 0 THEN 'failed' ELSE 'sent' END, 1, 'service:order-service', 'order-' || n,
                   now() - ({ROWS} - n) * interval '100 minutes', now(), 1
            FROM generate_series(1, {ROWS}) AS n
            """
        )
        cursor.execute("ANALYZE")


QUERIES = (
    *("", "?q=order-77", "?q=ANN77@example.com", "?q=77", "?q=order_confirmed", "?q=nothing", "?status=failed"),
    *("?status=queued", "?channel=log", "?user=77", "?user=999999", "?created_at_to={year_ago}", "?o=1"),
    "?created_at_from={year_ago}&created_at_to={year_ago}",
)


def test_no_list_reads_all_notifications(admin_client, crowd, subtests):
    year_ago = (now() - timedelta(days=365)).date().isoformat()
    for query in QUERIES:
        with subtests.test(query):
            assert_page_is_cheap(admin_client, Notification, query.format(year_ago=year_ago))


@pytest.fixture
def note():
    return Notification.objects.create(user_id=7, type="x", channel="email", recipient="Ann@Example.com", message="m")


def listed(client, query):
    return [each.pk for each in client.get(url(Notification, "changelist") + query).context["cl"].result_list]


def test_an_address_is_found_in_any_capitals_and_the_user_is_a_link(admin_client, note):
    assert listed(admin_client, "?q=ann@EXAMPLE.com") == [note.pk]
    assert listed(admin_client, "?q=bob@example.com") == []
    html = admin_client.get(url(Notification, "changelist")).content.decode()
    assert "/admin/user_svc/user/7/change/" in html
    assert "<br>not sent<" in html
    Notification.objects.update(sent_at=datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert "<br>sent 2020-01-02 03:04:05<" in admin_client.get(url(Notification, "changelist")).content.decode()


def test_filters_narrow_the_list_and_bad_ones_say_so(admin_client, note):
    assert listed(admin_client, "?user=7&status=queued") == [note.pk]
    assert listed(admin_client, "?user=8") == listed(admin_client, "?status=failed") == []
    answer = admin_client.get(url(Notification, "changelist") + "?user=ann")
    assert said(answer) == ["user: expected a user's id."]
