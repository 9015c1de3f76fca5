"""Database connections: dead ones are noticed, and waits end with the request's deadline."""

from collections.abc import Iterator
from datetime import UTC
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import DataError, ProgrammingError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from platform_core.db.connections import array, drop_dead_connections, prepared, prepared_atomic
from platform_core.http import context
from platform_core.http.errors import DeadlineExceeded

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def onlooker() -> Iterator[psycopg.Connection[Any]]:
    """A second session of the same role."""
    database = settings.DATABASES["default"]
    parts = {"dbname": database["NAME"], "user": database["USER"], "host": database["HOST"], "port": database["PORT"]}
    with psycopg.connect(**{name: value for name, value in parts.items() if value}, autocommit=True) as other:
        yield other


def test_the_first_request_after_the_server_dropped_an_idle_connection_is_answered(api, onlooker):
    assert api.get("/api/orders").status_code == 200
    assert connection.connection is not None
    backend = connection.connection.info.backend_pid
    onlooker.execute("SELECT pg_terminate_backend(%s, 5000)", [backend])
    assert api.get("/api/orders").status_code == 200


def test_after_an_error_a_request_begins_without_a_wait(monkeypatch):
    """A request has no deadline yet when it begins, so it must not ask Postgres anything: that may be silent."""
    database = connections["default"]
    with pytest.raises(ProgrammingError):
        prepared("SELECT nothing_of_this_name", [])
    assert database.errors_occurred
    before = database.connection
    monkeypatch.setattr(database, "is_usable", lambda: pytest.fail("it asks"))
    drop_dead_connections()
    assert database.connection is before and not database.errors_occurred
    assert prepared("SELECT 1", []) == [(1,)]


def test_a_connection_within_a_transaction_is_dropped(db):
    database = connections["default"]
    database.ensure_connection()
    database.set_autocommit(False)
    drop_dead_connections()
    assert database.connection is None
    database.autocommit = True


def test_a_prepared_statement_comes_after_djangos_health_check(monkeypatch):
    database = connections["default"]
    database.close()
    with monkeypatch.context() as during:
        during.setitem(database.settings_dict, "CONN_HEALTH_CHECKS", True)
        during.setattr(database, "is_usable", lambda: False)
        database.ensure_connection()
        before = database.connection
        database.close_if_unusable_or_obsolete()  # what Django does when a request begins
        assert prepared("SELECT 1", []) == [(1,)]
        assert database.connection is not before
    database.close()


@pytest.mark.parametrize("path", ["/api/orders", "/api/orders/1", "/api/events"])
def test_a_statement_that_outlasts_the_deadline_is_ended(api, onlooker, path):
    with onlooker.transaction():
        onlooker.execute("LOCK TABLE order_svc_order, events_event IN ACCESS EXCLUSIVE MODE")
        answer = api.get(path, headers={"X-Request-Timeout": "0.3"})
    assert answer.status_code == 503
    assert answer.json()["code"] == "deadline_exceeded"
    assert answer["Retry-After"] == "1"
    assert api.get("/api/orders").status_code == 200


@pytest.mark.parametrize("seconds", ["0.3", "30"])
def test_a_deadline_changes_nothing_in_the_session(api, seconds):
    api.get("/api/orders", headers={"X-Request-Timeout": seconds})
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_settings WHERE source = 'session'")
        assert cursor.fetchall() == []


def test_a_deadline_costs_no_round_trip(api):
    api.get("/api/orders")
    with CaptureQueriesContext(connection) as usual:
        api.get("/api/orders")
    with CaptureQueriesContext(connection) as short:
        api.get("/api/orders", headers={"X-Request-Timeout": "3"})
    assert [each["sql"] for each in short] == [each["sql"] for each in usual]


def test_after_the_deadline_no_statement_is_sent():
    with context.grace(-1), pytest.raises(DeadlineExceeded), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    with context.grace(-1), pytest.raises(DeadlineExceeded):
        prepared("SELECT 1", [])


def test_a_statement_that_fails_inside_a_transaction_leaves_it_usable():
    with transaction.atomic():
        with pytest.raises(DataError):
            prepared_atomic("SELECT 1 / %s::int", [0])
        assert prepared_atomic("SELECT %s::int", [7]) == [(7,)]


def test_outside_of_a_transaction_a_statement_costs_one_round_trip():
    with CaptureQueriesContext(connection) as captured:
        assert prepared_atomic("SELECT %s::int", [7]) == [(7,)]
    assert len(captured) == 1


class TestArrays(TestCase):
    """What is written in Postgres' own form arrives as it was."""

    @given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))))
    def test_texts(self, texts):
        assert prepared("SELECT %s::text[]", [array(texts)]) == [(texts,)]

    @given(st.lists(st.integers(-(2**63), 2**63 - 1)))
    def test_numbers(self, numbers):
        assert prepared("SELECT %s::bigint[]", [array(numbers)]) == [(numbers,)]

    @given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=2)))
    def test_money(self, prices):
        assert prepared("SELECT %s::numeric[]", [array(prices)]) == [(prices,)]


def test_a_prepared_statement_reads_times_as_django_does():
    text = "2030-01-31 23:59:59.000123+05:30"
    (prepared_time,) = prepared("SELECT %s::text::timestamptz", [text])[0]
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::text::timestamptz", [text])
        assert cursor.fetchone() == (prepared_time,)
    assert prepared_time.tzinfo is UTC
    assert prepared_time.isoformat() == "2030-01-31T18:29:59.000123+00:00"
