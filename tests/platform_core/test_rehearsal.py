"""What a web process does before it forks: it must leave no trace, and not keep the service from starting."""

import threading

import pytest
from django.db import DatabaseError, OperationalError, connections

from platform_core.api import compiled
from platform_core.rehearsal import rehearse
from tests.wire import Caller

pytestmark = pytest.mark.django_db(transaction=True)


def rehearsed():
    """On connections of its own; whether one is open afterwards."""

    def call():
        rehearse()
        return any(each.connection is not None for each in connections.all(initialized_only=True))

    caller = Caller(call)
    caller.join(20)
    if caller.error:
        raise caller.error
    return caller.result


def test_each_list_and_resource_is_asked_for_once(monkeypatch, caplog):
    monkeypatch.setattr(compiled, "_made", {})
    threads = threading.active_count()
    assert rehearsed() is False
    assert len(compiled._made) == 2
    assert caplog.records == []
    assert threading.active_count() == threads  # they would not be there after the fork


def test_a_database_that_is_away_is_asked_for_once(monkeypatch):
    tries = []

    def away(*args):
        tries.append(args)
        raise OperationalError

    monkeypatch.setattr(type(connections["default"]), "get_new_connection", away)
    assert rehearsed() is False
    assert len(tries) == 1


@pytest.mark.parametrize("error", [DatabaseError, RuntimeError])
def test_what_goes_wrong_is_left_to_the_first_request(monkeypatch, error):
    def fails(*args, **kwargs):
        raise error

    monkeypatch.setattr("platform_core.rehearsal.service_token", fails)
    assert rehearsed() is False
