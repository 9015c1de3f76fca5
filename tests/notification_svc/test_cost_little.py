"""The hot request stays cheap: statements, rows, index entries, WAL, objects left to the garbage collector."""

from itertools import count

import pytest

from tests.costs import Cost, assert_within, cost_of
from tests.wire import ask_wsgi

pytestmark = pytest.mark.django_db
MESSAGE = {"userId": "1", "type": "order_confirmed", "message": "Thank you."}


def test_a_message():
    keys = count()

    def request():
        status = ask_wsgi("POST", "/api/notifications/send", MESSAGE, HTTP_IDEMPOTENCY_KEY=f"k-{next(keys)}")
        assert status.startswith("20"), status

    assert_within(cost_of(request), Cost(statements=6, rows=2, index_entries=21, wal_bytes=2300, garbage=220))
