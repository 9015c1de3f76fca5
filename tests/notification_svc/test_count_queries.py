"""What a request and a delivery cost in queries, and that none reads whole tables."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from notification_svc import tasks
from notification_svc.models import Notification
from platform_core.outbox.models import OutboxMessage
from platform_core.outbox.queue import claim
from tests.notification_svc.conftest import deliver_one
from tests.wire import rows_read, statements_of

pytestmark = pytest.mark.django_db
A_FEW = 1000  # of 20,000


@pytest.mark.parametrize(
    "path",
    ["/api/notifications", "/api/notifications?status=queued&channel=email", "/api/notifications/1", "/api/events"],
)
def test_reading_is_one_query(api, send, django_assert_num_queries, path):
    for _ in range(3):
        send()
    with django_assert_num_queries(1):
        assert api.get(path).status_code == 200


@pytest.mark.parametrize("key, queries", [(None, 4), ("k-1", 6)])
def test_sending_is_four_queries_with_a_key_six(send, key, queries):
    """Whether the person was erased, with a lock; the message and its delivery. With a key: its lock, and its use."""
    assert len(statements_of(lambda: send(key=key))) == queries


def test_a_repetition_is_two_queries(send):
    send(key="k-1")
    assert len(statements_of(lambda: send(key="k-1"))) == 2


def test_malformed_requests_cost_no_query(api, send, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert send({}).status_code == 400
        assert api.get("/api/notifications?limit=0").status_code == 400
        assert api.get("/api/notifications/99999999999999999999").status_code == 404
    with django_assert_num_queries(1):  # an earlier version may have accepted it
        assert send({}, key="k-1").status_code == 400


@pytest.mark.django_db(transaction=True)
def test_a_delivery_is_three_queries_and_no_transaction_of_several(send, users, settings):
    """Claim, the message, and one for result, status and event. Development keeps the mail, with one more."""
    send()
    send()
    assert len(statements_of(deliver_one)) == 4
    settings.PLATFORM_ENV = "production"
    with CaptureQueriesContext(connection) as captured:
        deliver_one()
    assert len(captured) == 3, [query["sql"][:60] for query in captured]


@pytest.mark.django_db(transaction=True)
def test_deliveries_that_end_together_are_stored_with_one_query(send, users, settings):
    for _ in range(4):
        send()
    settings.PLATFORM_ENV = "production"
    messages = claim("email", 4)
    for message in messages:
        tasks.HANDLERS[message.kind].deliver(message)
    store = tasks.HANDLERS[messages[0].kind].store
    assert len(statements_of(lambda: store(messages))) == 1
    assert set(Notification.objects.values_list("status", "version")) == {("sent", 2)}


@pytest.fixture
def crowd():
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO {Notification._meta.db_table}
                (user_id, type, channel, recipient, subject, message, status, attempts, caller, created_at, updated_at,
                 version, sender_key)
            SELECT n % 500, 't' || n % 400, CASE n % 100 WHEN 0 THEN 'log' ELSE 'email' END, '', '', 'Hi',
                   CASE n % 100 WHEN 1 THEN 'failed' ELSE 'sent' END, 1, '', now(), now(), 1, 'k-' || n
            FROM generate_series(1, 20000) AS n
            """
        )
        cursor.execute(
            f"""
            INSERT INTO {OutboxMessage._meta.db_table}
                (kind, destination, aggregate, key, payload, state, attempts, available_at, last_error, request_id,
                 traceparent, created_at)
            SELECT 'notification.deliver', 'email', 'notification:' || n, 'notification-' || n, '{{}}',
                   CASE WHEN n > 19900 THEN 'dead' ELSE 'delivered' END, 0, now(), '', '', '', now()
            FROM generate_series(1, 20000) AS n
            """
        )
        cursor.execute("ANALYZE")


def test_no_request_reads_all_notifications(api, send, crowd, subtests):
    calls = {
        path: lambda path=path: api.get(path)
        for path in (
            "/api/notifications",
            api.get("/api/notifications").json()["next"],
            "/api/notifications?status=failed",
            "/api/notifications?type=t7",
            "/api/notifications?type=unheard_of",
            "/api/notifications?channel=log",
            "/api/notifications?senderKey=k-7",
            "/api/notifications/77",
            "/api/notifications/99999",
        )
    }
    calls |= {"send": lambda: send(key="another"), "deliver": deliver_one}
    for name, call in calls.items():
        with subtests.test(name):
            statements = [s for s in statements_of(call) if s.lstrip().startswith(("SELECT", "UPDATE", "WITH"))]
            assert max(rows_read(statement) for statement in statements) <= A_FEW
