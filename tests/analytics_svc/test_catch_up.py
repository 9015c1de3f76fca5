"""Catching up with the feeds before an answer."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
import requests
from django.db import connection
from django.utils.timezone import now

from analytics_svc import catching_up
from analytics_svc.models import FeedPosition
from platform_core.clients.feeds import read_feed
from tests import servers
from tests.analytics_svc.conftest import SERVICES, Feed, encode
from tests.servers import answers, keeps_silent
from tests.wire import Caller, assert_problem, at_once

pytestmark = pytest.mark.django_db
REPORTS = {
    "users": ["user-service"],
    "products": ["product-service", "order-service"],
    "orders": ["order-service"],
    "notifications": ["notification-service"],
    "summary": list(SERVICES),
}


def moment(found):
    return datetime.fromisoformat(found["asOf"])


@pytest.mark.parametrize("name, services", REPORTS.items())
def test_a_report_asks_the_feeds_that_it_needs(shop, report, name, services):
    report(name)
    assert [service for service, feed in shop.feeds.items() if feed.asked] == [s for s in SERVICES if s in services]


def test_an_answer_counts_what_was_committed_before_the_request(shop, report):
    for order_id in range(1, 4):
        shop.order(order_id)
        before = now()
        found = report("orders")
        assert found["total"] == order_id
        assert moment(found) >= before


def test_only_what_is_new_is_read(shop, report):
    shop.order(1)
    report("orders")
    shop.order(2)
    report("orders")
    assert [query.get("lastEventId") for query in shop.orders.asked] == ["0-0-0", "1-1-1", "1-2-2"][
        : len(shop.orders.asked)
    ]
    assert shop.orders.asked[-1]["lastEventId"] == "1-1-1"


def test_the_requests_id_goes_along(api, shop):
    api.get("/api/analytics/summary", headers={"X-Request-ID": "abc-1"})
    assert {feed.asked[0]["requestId"] for feed in shop.feeds.values()} == {"abc-1"}


def test_a_feed_of_many_pages_is_read_to_its_end(shop, report):
    for order_id in range(1, 2502):
        shop.order(order_id)
    found = report("orders")
    assert (found["total"], found["stale"]) == (2501, [])
    assert [query["limit"] for query in shop.orders.asked] == ["1000"] * 3


def test_a_feed_whose_last_page_is_full_is_read_to_its_end(shop, report):
    for order_id in range(1, 1001):
        shop.order(order_id)
    assert report("orders")["total"] == 1000
    assert len(shop.orders.asked) == 2


def test_a_feed_that_holds_something_back_is_asked_again(shop, report):
    shop.orders.pending = 3
    shop.order(1)
    found = report("orders")
    assert (found["total"], found["stale"]) == (1, [])
    assert len(shop.orders.asked) == 4


def test_a_feed_that_holds_something_back_too_long_is_stale_with_what_it_showed(shop, report):
    shop.orders.pending = 10**6
    shop.order(1)
    found = report("orders", X_Request_Timeout="1.5")
    assert (found["total"], found["stale"]) == (1, ["order-service"])


DOWN = {
    "503": lambda query: (503, {}, "{}"),
    "404": lambda query: (404, {}, '{"code": "not_found"}'),
    "403": lambda query: (403, {}, '{"code": "permission_denied"}'),
    "garbage": lambda query: (200, {}, "garbage"),
    "HTML": lambda query: (200, {"Content-Type": "text/html"}, "<html>"),
    "no events": lambda query: (200, {}, '[{"id": 1}]'),
    "no list": lambda query: (200, {}, "{}"),
    "bad UTF-8": lambda query: (200, {}, b'[{"id": "\xff"}]'),
}


def refuses(query):
    raise requests.exceptions.ConnectionError("refused")


@pytest.mark.parametrize("failure", [*DOWN.values(), refuses], ids=[*DOWN, "nobody listens"])
def test_a_peer_that_does_not_answer_is_named_and_the_others_are_fresh(shop, report, failure):
    shop.user(1)
    shop.order(1)
    report("summary")
    shop.user(2)
    shop.order(2)
    shop.orders.step = failure
    found = report("summary")
    assert found["stale"] == ["order-service"]
    assert found["users"]["total"] == 2
    assert found["orders"]["total"] == 1
    shop.orders.step = shop.orders.serve
    found = report("summary")
    assert (found["stale"], found["orders"]["total"]) == ([], 2)


def test_all_peers_that_do_not_answer_are_named(shop, report):
    for feed in shop.feeds.values():
        feed.step = refuses
    assert report("summary")["stale"] == list(SERVICES)
    assert report("products")["stale"] == ["product-service", "order-service"]


def test_stale_figures_have_the_time_of_the_last_update(shop, report):
    shop.order(1)
    report("orders")
    known = FeedPosition.objects.get(service="order-service").caught_up_at
    FeedPosition.objects.update(caught_up_at=known - timedelta(hours=1))
    shop.orders.step = refuses
    assert moment(report("orders")) == known - timedelta(hours=1)
    assert moment(report("summary")) == known - timedelta(hours=1)
    assert moment(report("users")) > known


def test_a_feed_without_new_events_is_current(shop, report):
    """The feed had no new events, so the figures were complete at the last read."""
    report("orders")
    FeedPosition.objects.update(caught_up_at=now() - timedelta(hours=1))
    before = now()
    report("orders")
    shop.orders.step = refuses
    assert moment(report("orders")) >= before


def test_figures_that_were_never_read_say_so(shop, report):
    shop.orders.step = refuses
    found = report("orders")
    assert (found["total"], found["stale"]) == (0, ["order-service"])
    assert moment(found) == datetime(1970, 1, 1, tzinfo=UTC)


def test_a_feed_that_breaks_off_amid_its_pages_is_not_known_as_of_now(shop, report, monkeypatch):
    """Only a part of the committed events is counted, so the report must not claim completeness."""
    monkeypatch.setattr(catching_up, "PAGE", 2)
    shop.order(1)
    report("orders")
    known = FeedPosition.objects.get(service="order-service").caught_up_at - timedelta(hours=1)
    FeedPosition.objects.update(caught_up_at=known)
    for order_id in range(2, 7):
        shop.order(order_id)

    def one_page(query):
        shop.orders.step = refuses
        return shop.orders.serve(query)

    shop.orders.step = one_page
    found = report("orders")
    assert (found["total"], found["stale"]) == (3, ["order-service"])
    assert moment(found) == known
    shop.orders.step = shop.orders.serve
    assert report("orders")["total"] == 6


def test_a_request_past_its_deadline_calls_no_peer(api, shop):
    answer = api.get("/api/analytics/summary", headers={"X-Request-Timeout": "0.000001"})
    assert_problem(answer, 503, "deadline_exceeded")
    assert not shop.orders.asked


@pytest.fixture
def real_peers(settings):
    """A real server for each service; feeds are empty."""
    with servers.serving() as users, servers.serving() as others:
        for server in (users, others):
            server.will(answers([]))
        settings.PEER_URLS = {**dict.fromkeys(SERVICES, others.url), "user-service": users.url}
        yield users, others


def test_a_silent_peer_is_listed_as_stale_within_the_deadline(report, real_peers):
    users, others = real_peers
    users.will(keeps_silent)
    feed = Feed()
    feed.tell("notification.sent", 1, {"version": 2, "status": "sent", "createdAt": now().isoformat()})
    others.will(lambda wire, request: answers(encode(feed.events[: "=0-0-0" in request.path]))(wire, request))
    found = report("summary", X_Request_Timeout="2")
    assert found["stale"] == ["user-service"]
    assert found["notifications"]["total"] == 1


def test_the_feeds_are_read_side_by_side(report, real_peers):
    """All four reads run before any of them is answered."""
    _, others = real_peers
    together = threading.Barrier(3, timeout=10)

    def meets(wire, request):
        together.wait()
        return answers([])(wire, request)

    others.will(meets)
    assert report("summary")["stale"] == []


@pytest.mark.django_db(transaction=True)
def test_the_same_events_read_by_many_at_once_count_once(shop, report, settings):
    for number in range(1, 40):
        shop.order(number)
        shop.user(number)
    for found in at_once([lambda: report("summary")] * settings.PEER_PLACES):
        assert (found["orders"]["total"], found["users"]["total"], found["stale"]) == (39, 39, [])
    assert report("orders")["revenue"] == 39 * 2 * shop.orders.events[0]["data"]["items"][0]["unitPrice"]


@pytest.mark.django_db(transaction=True)
def test_a_request_does_not_rely_on_a_reading_that_began_before_it(shop, report):
    """Changes committed between the two requests are in the second answer."""
    shop.order(1)
    began, go_on = threading.Event(), threading.Event()

    def held(query):
        answer = shop.orders.serve(query)
        shop.orders.step = shop.orders.serve
        began.set()
        go_on.wait(20)
        return answer

    shop.orders.step = held
    first = Caller(lambda: report("orders", X_Request_Timeout="20"))
    began.wait(20)
    shop.order(2)
    found = report("orders")
    assert (found["total"], found["stale"]) == (2, [])
    go_on.set()
    assert first.answer()["stale"] == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("further", [True, False])
def test_a_reader_that_was_overtaken_reads_on_from_there(shop, report, monkeypatch, further):
    """Between the read of the position and the write, another request has applied more events, or fewer."""
    shop.order(1)
    overtaken = []

    def slow(name, after, limit, **options):
        page = read_feed(name, after, limit, **options)
        if not overtaken:
            overtaken.append(name)
            if further:
                shop.order(2)
            at_once([lambda: report("orders")])
            if not further:
                shop.order(2)
                page = read_feed(name, after, limit, **options)
        return page

    monkeypatch.setattr(catching_up, "read_feed", slow)
    found = report("orders")
    assert (found["total"], found["stale"]) == (2, [])


@pytest.mark.django_db(transaction=True)
def test_figures_and_position_are_one_transaction(shop, api, report):
    shop.order(1)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER full_disk BEFORE UPDATE ON analytics_svc_feedposition EXECUTE FUNCTION full_disk()"
        )
    try:
        assert_problem(api.get("/api/analytics/orders"), 503, "unavailable")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION full_disk CASCADE")
    assert report("orders")["total"] == 1
