"""The list of users in the admin: filters, and what they read of a large table."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils.timezone import now

from tests.admin_pages import url
from tests.lists import assert_page_is_cheap
from user_svc.models import User

pytestmark = pytest.mark.django_db
ROWS = 20_000


@pytest.fixture
def crowd():
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO {User._meta.db_table}
                (name, email, email_key, phone, address, password, is_active, roles, created_at, updated_at, version)
            SELECT 'Ann ' || n, 'ann' || n || '@example.com', 'ann' || n || '@example.com', '', '', '', n % 500 <> 0,
                   CASE WHEN n % 1000 = 7 THEN ARRAY['orders'] ELSE ARRAY[]::varchar[] END,
                   now() - ({ROWS} - n) * interval '100 minutes', now(), 1
            FROM generate_series(1, {ROWS}) AS n
            """
        )
        cursor.execute("SELECT gin_clean_pending_list('user_words')")  # as vacuum does
        cursor.execute("ANALYZE")


QUERIES = (
    *("", "?kind=staff", "?kind=disabled", "?kind=unverified", "?q=ann77@example.com", "?q=nothing", "?o=1"),
    *("?created_at_from={year_ago}&created_at_to={year_ago}", "?created_at_to={year_ago}"),
)


def test_no_list_reads_all_users(admin_client, crowd, subtests):
    year_ago = (now() - timedelta(days=365)).date().isoformat()
    for query in QUERIES:
        with subtests.test(query):
            assert_page_is_cheap(admin_client, User, query.format(year_ago=year_ago))


def test_staff_and_disabled_accounts_are_found(admin_client):
    people = {
        "staff": User.objects.create(name="Jo", email="jo@example.com", roles=["orders"]),
        "disabled": User.objects.create(name="Kim", email="kim@example.com", is_active=False),
        "unverified": User.objects.create(name="Lee", email="lee@example.com", email_verified=False),
    }
    for kind, user in people.items():
        found = admin_client.get(url(User, "changelist") + f"?kind={kind}").context["cl"].result_list
        assert [each.pk for each in found] == [user.pk]
