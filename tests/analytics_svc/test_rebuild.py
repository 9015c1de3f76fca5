"""`manage.py analytics_svc rebuild`: rebuilds all figures, with the same result."""

import io
import random
import threading
from decimal import Decimal

import pytest
import requests
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils.timezone import now
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from analytics_svc import catching_up, rebuilding
from analytics_svc.catching_up import live_positions
from analytics_svc.models import DailyFigure, Fact, FeedPosition, Figure, ParkedEvent, ProductFigure
from platform_core.clients.peers import forget
from tests.analytics_svc.conftest import SERVICES
from tests.analytics_svc.test_digest_any_history import STEPS, Story, assert_recounted, start_again
from tests.wire import Caller, until

pytestmark = pytest.mark.django_db
REPORTS = ("users", "products", "orders", "notifications", "summary")


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    monkeypatch.setattr(rebuilding, "PEER_TIMEOUT", 1.0)
    monkeypatch.setattr(rebuilding, "PAUSE", 0.01)


def rebuild() -> str:
    said = io.StringIO()
    call_command("rebuild", stdout=said)
    return said.getvalue()


@pytest.fixture
def figures(report):
    """All reports, without their times."""

    def figures():
        found = {name: report(name) for name in REPORTS}
        for each in found.values():
            assert each.pop("stale") == []
            each.pop("asOf")
        return found

    return figures


def happen(shop):
    """A history with everything, including deletions."""
    for number in range(1, 8):
        shop.user(number, day=number % 3)
        shop.product(number, stock=number * 3)
        shop.order(number, items=((number, 2, Decimal("19.99")), (1, 1, Decimal("0.01"))), day=number % 4)
        shop.notification(number, "failed" if number % 2 else "sent", day=number % 2)
    shop.user(2, "deleted", version=2)
    shop.product(3, "product.deleted", version=2)
    shop.order(4, "cancelled", version=3)
    shop.order(5, "shipped", version=3)


def trim(shop):
    for feed in shop.feeds.values():
        feed.trimmed = len(feed.events)


@pytest.mark.parametrize("trimmed", [False, True], ids=["from the feeds", "from the lists"])
def test_the_figures_are_what_they_were(shop, figures, trimmed):
    happen(shop)
    before = figures()
    if trimmed:
        trim(shop)
    said = rebuild()
    assert "All figures are rebuilt." in said
    assert all(f"{name}: 100%" in said for name in SERVICES)
    assert all(bool(feed.listed) == trimmed for feed in shop.feeds.values())
    assert figures() == before


@pytest.mark.parametrize("trimmed", [0, 3], ids=["from the feeds", "from the lists"])
def test_the_share_that_is_done_never_falls_and_is_whole_only_at_the_end(shop, figures, monkeypatch, trimmed):
    happen(shop)
    figures()
    for feed in shop.feeds.values():
        feed.trimmed = trimmed
    monkeypatch.setattr(rebuilding, "PAGE", 2)
    shares = {name: [] for name in SERVICES}
    rebuilding.rebuild(lambda service, share, what, count: shares[service].append(share))
    for reported in shares.values():
        assert len(reported) > 2
        assert reported == sorted(reported)
        assert [share for share in reported if share >= 0.995] == [1.0]


@pytest.mark.parametrize("trimmed", [False, True], ids=["from the feeds", "from the lists"])
def test_figures_that_were_spoiled_are_right_again(shop, figures, trimmed):
    happen(shop)
    before = figures()
    if trimmed:
        trim(shop)
    Figure.objects.update(value=77)
    DailyFigure.objects.update(value=77)
    ProductFigure.objects.update(stock=77, units=77, name="?", revenue=1)
    assert figures() != before
    rebuild()
    assert figures() == before


@pytest.mark.parametrize("trimmed", [False, True], ids=["from the feeds", "from the lists"])
def test_changes_after_a_rebuild_count_once(shop, figures, trimmed):
    happen(shop)
    figures()
    if trimmed:
        trim(shop)
    rebuild()
    shop.order(5, "delivered", version=4)
    shop.order(8)
    shop.user(1, "deleted", version=2)
    shop.product(1, "stock.changed", version=2, stock=0)
    shop.notification(1, "sent", version=3)
    live = figures()
    start_over(shop)
    assert figures() == live


def start_over(shop):
    """Resets the figures as if no feed had ever been read."""
    for model in (DailyFigure, Fact, FeedPosition, Figure, ProductFigure, ParkedEvent):
        model.objects.all().delete()
    for feed in shop.feeds.values():
        feed.trimmed = 0


def test_an_analytics_service_that_starts_too_late_is_stale_until_a_rebuild(shop, report, caplog):
    happen(shop)
    trim(shop)
    found = report("summary")
    assert found["stale"] == list(SERVICES)
    assert {record.getMessage() for record in caplog.records if record.name == "analytics.feeds"} == {"feed.expired"}
    assert "rebuild" in str(next(r.data for r in caplog.records if r.getMessage() == "feed.expired"))
    rebuild()
    found = report("summary")
    assert found["stale"] == []
    assert (found["users"]["total"], found["products"]["total"], found["orders"]["total"]) == (6, 6, 7)
    assert found["orders"]["byStatus"] == {"confirmed": 5, "cancelled": 1, "shipped": 1, "delivered": 0, "rejected": 0}


def test_one_service_that_was_read_too_late_is_named_and_the_others_are_fresh(shop, report):
    happen(shop)
    report("summary")
    shop.user(8)
    shop.order(8)
    trim(shop)
    shop.users.trimmed = 0
    shop.products.trimmed = shop.notifications.trimmed = 0
    found = report("summary")
    assert (found["stale"], found["users"]["total"], found["orders"]["total"]) == (["order-service"], 7, 7)
    rebuild()
    found = report("summary")
    assert (found["stale"], found["orders"]["total"]) == ([], 8)


def test_resources_missing_in_the_list_count_as_deleted(shop, figures, report):
    happen(shop)
    figures()
    shop.user(1, "deleted", version=2, day=1)
    shop.product(1, "product.deleted", version=2)
    trim(shop)
    rebuild()
    rebuilt = figures()
    assert (rebuilt["users"]["total"], rebuilt["products"]["total"]) == (5, 5)
    start_over(shop)
    assert figures() == rebuilt


def test_a_resource_missing_in_the_list_is_known_from_the_kept_feed(shop, figures):
    happen(shop)
    figures()
    trim(shop)
    shop.user(9, version=1)
    shop.user(9, "deleted", version=2)
    shop.product(9)
    shop.product(9, "product.deleted", version=2)
    shop.order(9, items=((9, 50, Decimal(1)),))
    rebuild()
    rebuilt = figures()
    assert rebuilt["products"]["topSellers"][0]["name"] == "P9"
    start_over(shop)
    assert figures() == rebuilt


def test_later_events_do_not_restore_a_deleted_product(shop, figures):
    """The event of its deletion is gone from the feed, but the event of a later cancelled order is kept."""
    happen(shop)
    figures()
    shop.product(1, "product.deleted", version=2)
    trim(shop)
    shop.product(1, "stock.changed", version=3, stock=50)
    shop.product(3, "stock.changed", version=3, stock=50)
    rebuild()
    rebuilt = figures()
    start_over(shop)
    assert figures() == rebuilt


def test_an_old_event_does_not_replace_a_newer_row_of_the_list(shop, figures):
    """The later one of two concurrent changes comes first in the feed and is deleted first."""
    shop.order(1, "shipped", version=3)
    shop.order(1, "confirmed", version=2)
    shop.orders.trimmed = 1
    rebuild()
    assert figures()["orders"]["byStatus"] == {
        "confirmed": 0,
        "cancelled": 0,
        "shipped": 1,
        "delivered": 0,
        "rejected": 0,
    }


def test_a_failed_message_that_waits_to_be_sent_again_still_counts_as_failed(shop, figures):
    shop.notification(1, "failed")
    before = figures()
    shop.notifications.rows[1]["status"] = "queued"
    trim(shop)
    rebuild()
    assert figures() == before


def test_changes_during_the_read_of_the_list_count_once(shop, figures, monkeypatch):
    """Changes before and after the row's page, and deletions during the read."""
    monkeypatch.setattr(rebuilding, "read_list", small_pages(rebuilding.read_list))
    happen(shop)
    figures()
    trim(shop)
    turns = []

    def meanwhile(query):
        answer = shop.orders.serve_list(query)
        turns.append(query)
        if len(turns) == 1:
            shop.order(8)
            shop.order(7, "shipped", version=3)
            shop.order(1, "cancelled", version=3)
            shop.user(3, "deleted", version=2)
        return answer

    shop.orders.list_step = meanwhile
    rebuild()
    assert len(turns) > 2
    rebuilt = figures()
    start_over(shop)
    assert figures() == rebuilt
    assert rebuilt["orders"]["byStatus"]["shipped"] == 2


def small_pages(read_list):
    return lambda peer, path, cursor: read_list(peer, path, cursor, limit=2)


def test_the_position_is_taken_at_a_moment_when_nothing_is_hidden(shop, figures):
    """Otherwise a late event with an older state would replace the row of the list."""
    happen(shop)
    before = figures()
    trim(shop)
    for feed in shop.feeds.values():
        feed.pending = 4  # the first is the refusal itself
    rebuild()
    assert [feed.pending for feed in shop.feeds.values()] == [0] * 4
    assert all(not feed.listed_while_hiding for feed in shop.feeds.values())
    assert figures() == before


def test_a_feed_that_always_hides_events_fails_the_rebuild(shop, figures):
    happen(shop)
    before = figures()
    trim(shop)
    shop.users.pending = 10**6
    with pytest.raises(CommandError, match="open transaction of user-service"):
        rebuild()
    shop.users.pending = 0
    shop.users.trimmed = 0
    assert figures() == before


@pytest.mark.django_db(transaction=True)
def test_during_a_rebuild_reports_show_old_figures_and_all_services_are_stale(shop, report, figures):
    happen(shop)
    before = figures()
    asked = []

    def meanwhile(query):
        shop.notifications.step = shop.notifications.serve
        calls = len(shop.orders.asked)
        for name in REPORTS:
            found = report(name)
            assert found.pop("stale") == list(SERVICES)
            assert found.pop("asOf")
            assert found == before[name]
        asked.append(len(shop.orders.asked) - calls)
        return shop.notifications.serve(query)

    shop.notifications.step = meanwhile
    rebuild()
    assert asked == [0]
    assert figures() == before


@pytest.mark.parametrize("trimmed", [False, True], ids=["from the feeds", "from the lists"])
def test_an_unreachable_service_fails_the_rebuild_without_changes(shop, report, figures, trimmed):
    happen(shop)
    before = figures()
    if trimmed:
        trim(shop)

    def refuses(query):
        raise requests.exceptions.ConnectionError("refused")

    shop.orders.step = refuses
    with pytest.raises(CommandError, match="order-service"):
        rebuild()
    shop.orders.step = shop.orders.serve
    forget()  # the breaker
    assert figures() == before
    rebuild()
    assert figures() == before


def test_a_rebuild_waits_for_a_service_that_is_briefly_unreachable(shop, figures):
    happen(shop)
    before = figures()
    turns = []

    def hesitates(query):
        turns.append(query)
        return (503, {}, "{}") if len(turns) < 5 else shop.orders.serve(query)

    shop.orders.step = hesitates
    rebuild()
    shop.orders.step = shop.orders.serve
    assert figures() == before


def test_nothing_is_left_of_older_generations(shop, figures):
    happen(shop)
    before = figures()
    for _ in range(3):
        rebuild()
    assert Fact.objects.values("generation").distinct().count() == 1
    assert Figure.objects.values("generation").distinct().count() <= 2
    assert FeedPosition.objects.filter(live=True).count() == 4
    assert FeedPosition.objects.count() <= 8
    assert figures() == before


def test_parked_events_are_parked_again(shop, figures):
    happen(shop)
    shop.orders.tell("order.confirmed", 99, {})
    figures()
    rebuild()
    live = live_positions()["order-service"].generation
    assert ParkedEvent.objects.filter(generation=live, subject="99").count() == 1


def test_a_row_of_a_list_that_cannot_be_understood_is_parked_and_the_others_count(shop, report):
    happen(shop)
    trim(shop)
    shop.orders.rows[1]["total"] = "much"
    rebuild()
    assert report("orders")["total"] == 6
    assert ParkedEvent.objects.get().event_id == "list-order-1"


@pytest.mark.django_db(transaction=True)
def test_one_of_two_concurrent_rebuilds_is_refused(shop, figures):
    happen(shop)
    figures()
    begun, go_on = threading.Event(), threading.Event()

    def slow(query):
        begun.set()
        go_on.wait(20)
        return shop.users.serve(query)

    shop.users.step = slow
    first = Caller(rebuild)
    begun.wait(20)
    with pytest.raises(CommandError, match="Another rebuild"):
        rebuild()
    go_on.set()
    assert "All figures are rebuilt." in first.answer()


@pytest.mark.django_db(transaction=True)
def test_a_request_that_began_before_does_not_mix_old_and_new(shop, report, figures):
    """Its page arrives after another generation became live. The report is stale and has the last known figures."""
    happen(shop)
    figures()
    began, go_on = threading.Event(), threading.Event()

    def held(query):
        shop.orders.step = shop.orders.serve
        began.set()
        go_on.wait(20)
        return shop.orders.serve(query)

    shop.order(8)
    shop.orders.step = held
    slow = Caller(lambda: report("orders", X_Request_Timeout="20"))
    began.wait(20)
    rebuild()
    go_on.set()
    found = slow.answer()
    assert (found["total"], found["stale"]) == (7, ["order-service"])
    assert (report("orders")["total"], report("orders")["stale"]) == (8, [])


KILL_AT = ["rebuild.page", "rebuild.listed", "rebuild.live", "feed.applied"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("place", KILL_AT)
def test_a_rebuild_that_is_killed_can_be_started_again(wired, report, figures, child, tmp_path, place):
    happen(wired)
    before = figures()
    if place == "rebuild.listed":
        trim(wired)
    (tmp_path / place).touch()
    code, said = child("from django.core.management import call_command\ncall_command('rebuild')").end()
    assert code == -9, said
    if place != "rebuild.live":
        assert report("summary")["stale"] == list(SERVICES)
        assert report("orders")["total"] == before["orders"]["total"]
    FeedPosition.objects.filter(rebuilding_until__gt=now()).update(rebuilding_until=now())  # its lease is over
    assert figures() == before
    until(rebuild_if_free)
    assert figures() == before


def rebuild_if_free() -> bool:
    """The dead process's session ends when the server notices."""
    try:
        rebuild()
    except CommandError:
        return False
    return True


@settings(max_examples=settings().max_examples // 3, phases=[Phase.generate])
@given(
    before=st.lists(st.sampled_from(STEPS), min_size=15, max_size=40),
    after=st.lists(st.sampled_from(STEPS), max_size=15),
    later=st.lists(st.sampled_from([step for step in STEPS if step != "repeat"]), max_size=10),
    trimmed=st.tuples(*[st.none() | st.floats(0, 1)] * 4),
    page=st.sampled_from([2, 7, 1000]),
    seed=st.integers(0, 2**32),
)
def test_rebuilt_figures_equal_a_naive_recount_after_any_history(
    shop, report, before, after, later, trimmed, page, seed
):
    """Read feeds are cut at any position, others are complete. Changes continue before and after the rebuild.

    Events from before the rebuild are not repeated afterwards, because no service does that.
    """
    start_again(shop)
    story = Story(shop, random.Random(seed))
    was = catching_up.PAGE, rebuilding.PAGE
    catching_up.PAGE = rebuilding.PAGE = page
    try:
        for step in before:
            story.step(step)
        story.look(report)
        for feed, share in zip(shop.feeds.values(), trimmed, strict=True):
            feed.trimmed = 0 if share is None else int(len(feed.events) * share)
        for step in after:
            story.step(step)
        rebuild()
        story.look(report)
        for step in later:
            story.step(step)
        assert_recounted(story, report)
    finally:
        catching_up.PAGE, rebuilding.PAGE = was
