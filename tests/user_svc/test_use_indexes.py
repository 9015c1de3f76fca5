"""Every filter uses an index on large tables."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.wire import rows_read
from user_svc.models import User

pytestmark = pytest.mark.django_db
A_FEW = 1000  # of 20,000


@pytest.fixture
def crowd() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '60s'")
        cursor.execute(
            f"""
            INSERT INTO {User._meta.db_table}
                (name, email, email_key, phone, address, password, is_active, created_at, updated_at, version)
            SELECT 'Name' || n || ' Surname' || n % 977, 'user' || n || '@host' || n % 53 || '.example',
                   'user' || n || '@host' || n % 53 || '.example', '', '', '',
                   true, now(), now(), 1
            FROM generate_series(1, 20000) AS n
            """
        )
        cursor.execute("SELECT gin_clean_pending_list('user_words')")  # as autovacuum does
        cursor.execute("ANALYZE")


def test_no_request_reads_all_users(api, crowd, subtests):
    pk = User.objects.values_list("pk", flat=True)[10000]
    following = api.get("/api/users").json()["next"]
    for path in (
        "/api/users",
        following,
        api.get(following).json()["previous"],
        f"/api/users/{pk}",
        "/api/users?email=USER777@host35.example",
        "/api/users?search=name777",
        "/api/users?search=surname5 name777",
        "/api/users?search=nobodyofthisname",
        "/api/users?limit=200",
    ):
        with subtests.test(path), CaptureQueriesContext(connection) as captured:
            assert api.get(path).status_code == 200
        with subtests.test(path):
            for query in captured:
                assert rows_read(query["sql"]) <= A_FEW


def test_no_change_reads_all_users(api, crowd):
    pk = User.objects.values_list("pk", flat=True)[10000]
    with CaptureQueriesContext(connection) as captured:
        assert api.patch(f"/api/users/{pk}", {"phone": "1"}).status_code == 200
        assert api.delete(f"/api/users/{pk}").status_code == 204
    statements = [query["sql"] for query in captured if query["sql"].startswith(("SELECT", "UPDATE", "DELETE"))]
    assert len(statements) >= 4
    assert max(rows_read(statement) for statement in statements) <= 1
