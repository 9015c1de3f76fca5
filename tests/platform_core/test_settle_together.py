"""Outcomes of deliveries that end at the same time are stored together, and each as if it were alone."""

import threading

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction

from platform_core.outbox.models import OutboxMessage
from platform_core.outbox.queue import DELIVERED, HELD, Handler, Message, claim, enqueue, held_values, renew
from platform_core.outbox.settling import Together
from tests.wire import Caller, until

pytestmark = pytest.mark.django_db(transaction=True)
STORE = f"WITH held AS MATERIALIZED ({HELD}), delivered AS ({DELIVERED}) SELECT id FROM delivered"


class Store:
    """A handler's ``store``. The first call waits until `go` is set; ``spoils`` is a key that fails its group."""

    def __init__(self, spoils="", error=IntegrityError):
        self.groups, self.go, self.spoils, self.error = [], threading.Event(), spoils, error

    def __call__(self, messages):
        self.groups.append(sorted(message.key for message in messages))
        if len(self.groups) == 1:
            assert self.go.wait(20)
        connection.ensure_connection()
        if self.spoils in self.groups[-1]:
            raise self.error(self.spoils)
        with connection.cursor() as cursor:
            cursor.execute(STORE, held_values(messages))
            return {pk for (pk,) in cursor.fetchall()}


def claimed(*keys):
    enqueue(*(Message("note", "there", f"thing:{key}", key, {}) for key in keys))
    return {message.key: message for message in claim("there", len(keys))}


def settled_at_once(store, messages):
    """The first is being stored while the others come. Returns a caller for each."""
    together, handler = Together(), Handler(lambda message: None, store=store)

    def settle(message):
        return lambda: together.settle_delivered(message, handler)

    first, *others = messages.values()
    callers = [Caller(settle(first))]
    until(lambda: store.groups)
    callers += [Caller(settle(message)) for message in others]
    until(lambda: len(together._waiting) == len(others))
    store.go.set()
    return dict(zip(messages, callers, strict=True))


def states():
    return dict(OutboxMessage.objects.values_list("key", "state"))


def test_those_that_come_while_one_is_stored_are_stored_with_one_statement():
    store = Store()
    callers = settled_at_once(store, claimed("a", "b", "c", "d"))
    assert [caller.answer() for caller in callers.values()] == [True] * 4
    assert store.groups == [["a"], ["b", "c", "d"]]
    assert set(states().values()) == {"delivered"}


def test_one_whose_lease_was_lost_learns_it_and_the_others_are_stored():
    messages, store = claimed("a", "b", "c"), Store()
    OutboxMessage.objects.filter(key="c").update(lease="00000000-0000-0000-0000-000000000000")
    callers = settled_at_once(store, messages)
    assert {key: caller.answer() for key, caller in callers.items()} == {"a": True, "b": True, "c": False}
    assert states() == {"a": "delivered", "b": "delivered", "c": "pending"}


def test_one_that_cannot_be_stored_fails_alone():
    store = Store(spoils="c")
    callers = settled_at_once(store, claimed("a", "b", "c", "d"))
    for key, caller in callers.items():
        if key == "c":
            with pytest.raises(IntegrityError):
                caller.answer()
        else:
            assert caller.answer() is True
    assert states() == {"a": "delivered", "b": "delivered", "c": "pending", "d": "delivered"}


def test_without_the_database_all_of_a_group_fail_and_none_is_tried_alone():
    store = Store(spoils="c", error=OperationalError)
    callers = settled_at_once(store, claimed("a", "b", "c"))
    assert callers["a"].answer() is True
    for key in ("b", "c"):
        with pytest.raises(OperationalError):
            callers[key].answer()
    assert store.groups == [["a"], ["b", "c"]]


def test_renewing_and_storing_lock_rows_in_the_same_order():
    """All are renewed again and again, in one order, while they are stored in the other. A deadlock is an error."""
    messages = list(claimed(*(f"m{number}" for number in range(60))).values())
    ended = threading.Event()

    def renewing():
        while not ended.is_set():
            renew(messages)

    callers = [Caller(renewing), Caller(renewing)]
    try:
        for _ in range(20):
            with connection.cursor() as cursor:
                cursor.execute(STORE, held_values(messages[::-1]))
                assert len(cursor.fetchall()) == 60
            with transaction.atomic():
                list(OutboxMessage.objects.select_for_update().order_by("pk"))
                OutboxMessage.objects.update(state="pending", lease=messages[0].lease)
    finally:
        ended.set()
    for caller in callers:
        caller.answer()
