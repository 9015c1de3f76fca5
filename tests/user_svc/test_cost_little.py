"""The hot request stays cheap: statements, rows, index entries, WAL, objects left to the garbage collector."""

import pytest

from tests.costs import Cost, assert_within, cost_of
from tests.wire import ask_wsgi

pytestmark = pytest.mark.django_db


def test_a_read(ann):
    def request():
        assert ask_wsgi("GET", f"/api/users/{ann['id']}") == "200 OK"

    assert_within(cost_of(request), Cost(statements=1, wal_bytes=100, garbage=150, functions=710))
