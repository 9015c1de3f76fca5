"""The outbox in `/health`, tested with order-service."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from platform_core.models import SchemaCurrency
from platform_core.observability import health
from platform_core.outbox.depth import DEPTH_BOUND, depth
from platform_core.outbox.models import OutboxMessage
from tests.wire import rows_read

pytestmark = pytest.mark.django_db


def outbox_of(client):
    answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    return answer.json()["checks"]["outbox"]


def put(number, state="pending", seconds=0):
    OutboxMessage.objects.bulk_create(
        OutboxMessage(
            key=f"{state}-{seconds}-{n}",
            kind="note",
            destination="there",
            aggregate=f"thing:{n}",
            payload={},
            state=state,
            created_at=now() - timedelta(seconds=seconds),
        )
        for n in range(number)
    )


def test_an_empty_outbox_is_reported_as_empty(client):
    put(2, "delivered", 100)
    assert outbox_of(client) == {"status": "ok", "pending": 0, "oldestSeconds": None, "dead": 0}


def test_pending_and_dead_messages_are_reported_and_do_not_affect_health(client):
    put(1, seconds=90)
    put(2)
    put(1, "dead", 500)
    reported = outbox_of(client)
    assert (reported["status"], reported["pending"], reported["dead"]) == ("ok", 3, 1)
    assert 90 <= reported["oldestSeconds"] < 150


def test_counting_is_bounded(client):
    put(DEPTH_BOUND + 5)
    put(DEPTH_BOUND + 5, "dead")
    reported = outbox_of(client)
    assert (reported["pending"], reported["dead"]) == (DEPTH_BOUND, DEPTH_BOUND)


def test_the_outbox_is_counted_with_one_query_that_skips_delivered_rows():
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO {OutboxMessage._meta.db_table} (kind, destination, aggregate, key, payload, state, attempts,
                available_at, last_error, request_id, traceparent, created_at)
            SELECT 'note', 'there', 'thing:' || n, n, '{{}}',
                CASE WHEN n % 4000 = 0 THEN 'pending' ELSE 'delivered' END, 1, now(), '', '', '', now()
            FROM generate_series(1, 20000) AS n
            """
        )
        cursor.execute("ANALYZE")
    with CaptureQueriesContext(connection) as captured:
        assert depth().pending == 5
    (query,) = captured.captured_queries
    assert rows_read(query["sql"]) <= 20


def test_an_unreadable_outbox_is_reported_as_down(client, monkeypatch):
    monkeypatch.setattr("platform_core.outbox.depth._DEPTH", "SELECT %s, %s, %s FROM nowhere")
    assert outbox_of(client) == {"status": "down"}


def test_a_service_whose_schema_has_another_currency_is_not_ready(client, monkeypatch, settings):
    monkeypatch.setattr(health, "_currency_is_right", False)
    SchemaCurrency.objects.update_or_create(id=True, defaults={"code": "EUR"})
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert "Set CURRENCY=EUR" in answer.json()["checks"]["currency"]["detail"]
    settings.CURRENCY = "EUR"
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()["checks"].get("currency")) == (200, None)
