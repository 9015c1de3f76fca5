"""The worker follows the feeds all the time; requests take in what is newer."""

import threading
import time
from datetime import timedelta

import pytest
import requests
from django.db import DataError, connection, transaction
from django.utils.timezone import now

from analytics_svc import catching_up, following
from analytics_svc.catching_up import live_positions
from analytics_svc.following import Follower
from analytics_svc.models import Fact, FeedPosition
from analytics_svc.tasks import DUTIES
from platform_core.worker.duties import Duty, work
from tests.analytics_svc.conftest import SERVICES, encode
from tests.wire import Caller, statements_of, until

pytestmark = pytest.mark.django_db
WORKER = """
import threading
from analytics_svc import catching_up
from analytics_svc.following import Follower
catching_up.PAGE = 3
follower, stopping = Follower(), threading.Event()
while True:
    follower._due_at = dict.fromkeys(follower._due_at, 0.0)
    follower.run(stopping)
"""


@pytest.fixture
def follower(monkeypatch):
    follower = Follower()
    yield follower
    follower.finish()


def follow(follower, until_true):
    """Runs rounds until the condition is true."""
    stopping, end = threading.Event(), time.monotonic() + 30
    while not until_true():
        assert time.monotonic() < end
        follower.run(stopping)


def last_ids():
    return {position.service: position.last_event_id for position in FeedPosition.objects.filter(live=True)}


def happen(shop, first, last):
    for number in range(first, last):
        shop.user(number)
        shop.product(number)
        shop.order(number, items=((number, 2, 5),))
        shop.notification(number)


def test_the_worker_counts_everything_without_a_request(shop, follower, report, monkeypatch):
    monkeypatch.setattr(catching_up, "PAGE", 3)
    happen(shop, 1, 9)
    follow(follower, lambda: set(last_ids().values()) == {"1-8-8"})
    assert Fact.objects.count() == 32
    for feed in shop.feeds.values():
        feed.step = lambda query: (503, {}, "{}")
    found = report("summary")
    assert found["stale"] == list(SERVICES)
    assert (found["users"]["total"], found["products"]["total"], found["orders"]["total"]) == (8, 8, 8)


def test_a_request_reads_only_what_is_newer_than_the_workers_last_page(shop, follower, report):
    happen(shop, 1, 9)
    follow(follower, lambda: set(last_ids().values()) == {"1-8-8"})
    shop.orders.asked.clear()
    shop.order(9)
    found = report("orders")
    assert (found["total"], found["stale"]) == (9, [])
    assert [query["lastEventId"] for query in shop.orders.asked] == ["1-8-8"]


def test_what_is_read_ahead_acknowledges_nothing(shop, follower, monkeypatch):
    """Its position is not committed yet, so the feed must keep the events after the stored one."""
    monkeypatch.setattr(catching_up, "PAGE", 3)
    happen(shop, 1, 8)
    follow(follower, lambda: last_ids().get("order-service") == "1-7-7")
    asked = [(query["lastEventId"], query["consumer"]) for query in shop.orders.asked][:3]
    assert asked == [("0-0-0", "analytics-service"), ("1-3-3", ""), ("1-6-6", "")]
    follower._due_at = dict.fromkeys(follower._due_at, 0.0)
    shop.orders.asked.clear()
    follow(follower, lambda: shop.orders.asked)
    assert shop.orders.asked[0]["consumer"] == "analytics-service"
    assert shop.orders.asked[0]["lastEventId"] == "1-7-7"


def test_a_request_that_reads_ahead_acknowledges_nothing_either(shop, report, monkeypatch):
    monkeypatch.setattr(catching_up, "PAGE", 3)
    happen(shop, 1, 8)
    assert report("orders")["total"] == 7
    asked = [(query["lastEventId"], query["consumer"]) for query in shop.orders.asked]
    assert asked == [("0-0-0", "analytics-service"), ("1-3-3", ""), ("1-6-6", "")]


@pytest.mark.parametrize("failure", [lambda query: (503, {}, "{}"), lambda query: (410, {}, '{"code": "events_lost"}')])
def test_a_feed_that_fails_holds_up_no_other_and_is_logged_once(shop, follower, monkeypatch, caplog, failure):
    monkeypatch.setattr(following, "FAILED_SECONDS", 0.0)
    happen(shop, 1, 3)
    shop.orders.step = failure
    follow(follower, lambda: len(shop.orders.asked) > 3 and list(last_ids().values()).count("1-2-2") == 3)
    logged = [record for record in caplog.records if record.name == "analytics.feeds"]
    assert len(logged) == 1
    shop.orders.step = shop.orders.serve
    follow(follower, lambda: last_ids()["order-service"] == "1-2-2")


def test_a_feed_that_does_not_answer_holds_up_no_other(shop, follower, monkeypatch):
    go_on = threading.Event()

    def silent(query):
        go_on.wait(20)
        return shop.orders.serve(query)

    shop.orders.step = silent
    happen(shop, 1, 3)
    follow(follower, lambda: list(last_ids().values()).count("1-2-2") == 3)
    happen(shop, 3, 5)
    follower._due_at = dict.fromkeys(follower._due_at, 0.0)
    follow(follower, lambda: list(last_ids().values()).count("1-4-4") == 3)
    go_on.set()
    follow(follower, lambda: set(last_ids().values()) == {"1-4-4"})


def test_a_page_that_cannot_be_stored_holds_up_no_other_feed(shop, follower, monkeypatch):
    real = following.apply

    def refuses(read):
        if read.after.service == "user-service":
            with transaction.atomic():
                connection.cursor().execute("SELECT 1/0")
        return real(read)

    monkeypatch.setattr(following, "apply", refuses)
    happen(shop, 1, 3)
    with pytest.raises(DataError, match="division"):
        follow(follower, lambda: False)
    follow(follower, lambda: list(last_ids().values()).count("1-2-2") == 3)


def test_a_quiet_feed_is_asked_less_often(shop, follower, monkeypatch):
    shop.order(1)
    pauses = []
    for _ in range(5):
        follower._due_at = dict.fromkeys(follower._due_at, 0.0)
        asked = len(shop.orders.asked)
        follow(follower, lambda asked=asked: len(shop.orders.asked) > asked and not follower._reads)
        pauses.append(round(follower._due_at["order-service"] - time.monotonic()))
    assert pauses == [1, 2, 4, 4, 4]


def test_the_age_of_the_figures_is_kept_and_a_poll_seldom_writes(shop, follower, api):
    happen(shop, 1, 2)
    follow(follower, lambda: set(last_ids().values()) == {"1-1-1"} and not follower._reads)
    FeedPosition.objects.filter(service="order-service").update(caught_up_at=now() - timedelta(hours=1))
    assert lag_of(api, "order-service") >= 3600

    def again():
        follower._due_at = dict.fromkeys(follower._due_at, 0.0)
        asked = len(shop.orders.asked)
        follow(follower, lambda: len(shop.orders.asked) > asked and not follower._reads)

    again()
    assert lag_of(api, "order-service") < 60
    assert [statement for statement in statements_of(again) if not statement.startswith("SELECT")] == []


def lag_of(api, service):
    lines = api.get("/metrics").content.decode().splitlines()
    (line,) = [line for line in lines if line.startswith(f'feed_lag_seconds{{service="{service}"}}')]
    return float(line.split()[-1])


def test_it_applies_nothing_during_a_rebuild(shop, follower):
    happen(shop, 1, 3)
    live_positions()
    FeedPosition.objects.update(rebuilding_until=now() + timedelta(seconds=60))
    stopping, end = threading.Event(), time.monotonic() + 0.5
    while time.monotonic() < end:
        follower.run(stopping)
    assert not any(feed.asked for feed in shop.feeds.values())
    FeedPosition.objects.update(rebuilding_until=now())
    follower._due_at = dict.fromkeys(follower._due_at, 0.0)
    follow(follower, lambda: set(last_ids().values()) == {"1-2-2"})


def test_a_page_that_was_read_before_a_rebuild_began_is_not_applied(shop, follower):
    began = threading.Event()

    def rebuild_begins(query):
        began.set()
        return shop.orders.serve(query)

    happen(shop, 1, 3)
    shop.orders.step = rebuild_begins
    positions = live_positions()
    read = catching_up._read(positions["order-service"], 0, True)
    FeedPosition.objects.update(rebuilding_until=now() + timedelta(seconds=60))
    with pytest.raises(catching_up.Superseded):
        catching_up.apply(read)
    assert not Fact.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_workers_and_requests_side_by_side_count_each_event_once(shop, report, monkeypatch):
    monkeypatch.setattr(catching_up, "PAGE", 3)
    monkeypatch.setattr(following, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(following, "MOST_SECONDS", 0.01)
    stopping = threading.Event()
    workers = [Follower(), Follower()]
    duties = [Duty("feeds", each.run, pause=0.01, finish=each.finish) for each in workers]
    running = Caller(lambda: work(duties, stopping))
    try:
        for number in range(1, 61):
            happen(shop, number, number + 1)
            if number % 6 == 0:
                found = report("summary", X_Request_Timeout="30")
                assert found["stale"] == []
                assert (found["orders"]["total"], found["users"]["total"]) == (number, number)
                assert found["orders"]["revenue"] == number * 10
    finally:
        stopping.set()
        running.answer()
    assert report("orders")["total"] == 60


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_is_killed_at_random_counts_each_event_once(wired, report, child):
    live_positions()
    number = 0
    for _ in range(3):
        worker = child(WORKER)
        seen = Fact.objects.count()
        for _ in range(30):
            number += 1
            wired.order(number)
            wired.user(number)
        until(lambda seen=seen: Fact.objects.count() > seen, 60)
        worker.kill()
    found = report("summary")
    assert found["stale"] == []
    assert (found["orders"]["total"], found["users"]["total"]) == (number, number)
    assert found["orders"]["revenue"] == sum(event["data"]["total"] for event in wired.orders.events)


@pytest.mark.django_db(transaction=True)
def test_one_that_dies_between_its_figures_and_its_position_has_changed_neither(wired, report, child, tmp_path):
    wired.order(1)
    (tmp_path / "feed.applied").touch()
    code, said = child(WORKER).end()
    assert code == -9, said
    assert not Fact.objects.exists()
    assert report("orders")["total"] == 1


@pytest.mark.django_db(transaction=True)
def test_a_report_does_not_wait_for_ever_for_somebody_who_holds_a_position(shop, report):
    """A worker that stands still with an open transaction: the service is stale, with the last known figures."""
    shop.order(1)
    report("orders")
    holds, go_on = threading.Event(), threading.Event()

    def stand_still():
        with transaction.atomic():
            FeedPosition.objects.select_for_update().get(service="order-service", live=True)
            holds.set()
            go_on.wait(20)

    frozen = Caller(stand_still)
    holds.wait(20)
    shop.order(2)
    try:
        found = report("orders", X_Request_Timeout="2")
    finally:
        go_on.set()
        frozen.answer()
    assert (found["total"], found["stale"]) == (1, ["order-service"])
    assert report("orders")["total"] == 2


def test_a_page_that_somebody_else_has_applied_is_not_applied_again_and_moves_nothing_back(shop):
    happen(shop, 1, 3)
    position = live_positions()["order-service"]
    early = catching_up._read(position, 0, True)
    happen(shop, 3, 5)
    assert catching_up.apply(catching_up._read(position, 0, True)).last_event_id == "1-4-4"
    found = statements_of(lambda: catching_up.apply(early))
    assert len(found) == 1, found  # the lock
    assert last_ids()["order-service"] == "1-4-4"


def test_one_page_is_a_few_statements_however_many_kinds_it_holds(shop):
    happen(shop, 1, 200)
    for kind in ("users", "products", "notifications"):
        shop.orders.events += [
            {**event, "id": f"1-{number}-{number}"}
            for number, event in enumerate(getattr(shop, kind).events, len(shop.orders.events) + 1)
        ]
    position = live_positions()["order-service"]
    read = catching_up._read(position, 0, True)
    assert len(read.page.events) == 4 * 199
    found = statements_of(lambda: catching_up.apply(read))
    assert len(found) == 6, found
    assert Fact.objects.count() == 4 * 199


def test_the_worker_has_one_duty_and_one_connection_for_all_feeds():
    from platform_core.topology import ANALYTICS

    assert len(DUTIES) == ANALYTICS.duties == 1


def test_a_worker_that_stops_waits_for_its_reads_and_loses_nothing(shop, follower, report):
    happen(shop, 1, 3)
    stopping = threading.Event()
    follower.run(stopping)
    stopping.set()
    follower.finish()
    assert report("summary")["stale"] == []
    assert encode(report("orders")["total"]) == b"2"


def test_nobody_listens_and_the_worker_goes_on(shop, follower):
    def refuses(query):
        raise requests.exceptions.ConnectionError("refused")

    for feed in shop.feeds.values():
        feed.step = refuses
    follow(follower, lambda: all(feed.asked for feed in shop.feeds.values()) and not follower._reads)
    for feed in shop.feeds.values():
        feed.step = feed.serve
    shop.order(1)
    follower._due_at = dict.fromkeys(follower._due_at, 0.0)
    follow(follower, lambda: last_ids()["order-service"] == "1-1-1")
