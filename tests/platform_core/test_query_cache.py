"""Compiled statements are reused with other values and keep nothing of a single request."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from order_svc.models import Order
from platform_core.api.query_cache import Slot, declared, fetch_one, is_declared, statement
from platform_core.outbox.models import OutboxMessage

pytestmark = pytest.mark.django_db


@pytest.fixture
def orders():
    return [Order.objects.create(user_id=n, currency="USD", caller=f"c{n}") for n in (1, 2, 3)]


def test_a_cached_statement_takes_the_values_of_each_request(orders):
    field = Order._meta.get_field("user_id")

    def build():
        return Order.objects.filter(user_id=Slot("user", field), currency="USD").values_list("pk")

    def never():
        raise AssertionError("compiled again")

    first = statement("a test", build)
    assert statement("a test", never) is first
    assert [first.rows({"user": n}, 5) for n in (1, 3, 9)] == [[(orders[0].pk,)], [(orders[2].pk,)], []]
    assert len(statement("all of a test", lambda: Order.objects.values_list("pk")).rows({}, 2)) == 2


def test_a_queryset_derived_from_a_declared_one_is_not_declared():
    base = declared(Order, currency="USD")
    assert is_declared(base)
    for derived in (base.all(), base.filter(user_id=1), base.none(), base.order_by("pk"), base.annotate()):
        assert not is_declared(derived)


def test_an_instance_is_the_one_that_the_orm_finds(orders):
    order = orders[1]
    found = fetch_one(declared(Order, prefetch=["lines"]), pk=order.pk)
    assert found == order
    for field in Order._meta.concrete_fields:  # those that are deferred, too
        assert getattr(found, field.attname) == getattr(order, field.attname), field
    with CaptureQueriesContext(connection) as captured:
        assert list(found.lines.all()) == []
    assert not captured.captured_queries
    assert found._state.db == "default" and not found._state.adding


def test_a_declared_queryset_keeps_its_constants(orders):
    assert fetch_one(declared(Order, user_id=2), pk=orders[1].pk) == orders[1]
    assert fetch_one(declared(Order, user_id=2), pk=orders[0].pk) is None
    assert fetch_one(declared(OutboxMessage), pk=orders[0].pk) is None
