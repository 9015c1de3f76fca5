"""Promise 6 for the consumer: analytics-service is killed while it applies events, and each event counts once."""

import random
import time

import pytest

from analytics_svc.catching_up import live_positions
from analytics_svc.models import Fact
from tests.wire import until

pytestmark = pytest.mark.django_db(transaction=True)
READER = """
from analytics_svc import catching_up
catching_up.PAGE = 3
while True:
    catching_up.catch_up(catching_up.SOURCES)
"""
ORDERS = 120


def test_a_consumer_that_is_killed_at_random_counts_each_event_once(wired, report, child):
    dice = random.Random(6)
    live_positions()
    number = 0
    for _ in range(4):
        reader = child(READER)
        seen = Fact.objects.count()
        for _ in range(ORDERS // 4):
            number += 1
            wired.order(number)
            wired.user(number)
        until(lambda seen=seen: Fact.objects.count() > seen, 60)
        time.sleep(dice.random() * 0.1)
        reader.kill()
    found = report("summary")
    assert found["stale"] == []
    assert (found["orders"]["total"], found["users"]["total"]) == (number, number)
    assert found["orders"]["revenue"] == sum(event["data"]["total"] for event in wired.orders.events)


def test_one_that_dies_between_its_figures_and_its_position_has_changed_neither(wired, report, child, tmp_path):
    wired.order(1)
    (tmp_path / "feed.applied").touch()
    code, said = child(READER).end()
    assert code == -9, said
    assert not Fact.objects.exists()
    assert (report("orders")["total"], report("orders")["stale"]) == (1, [])
