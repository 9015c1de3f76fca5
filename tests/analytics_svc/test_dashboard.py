"""The dashboard's page, and `/api/analytics/platform`, which gives it the status of the services."""

import html
import json
import re
from decimal import Decimal
from html.parser import HTMLParser
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from requests import ConnectionError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle

from analytics_svc.catching_up import SOURCES
from analytics_svc.dashboard import Dashboard
from analytics_svc.models import DailyFigure, FeedPosition
from platform_core import __version__
from platform_core.conf.environment import ROOT
from platform_core.topology import ANALYTICS, ORDER, SERVICES
from platform_core.vocabulary import Role
from tests import people
from tests.analytics_svc.conftest import today
from tests.servers import keeps_silent, serving
from tests.wire import assert_problem

pytestmark = pytest.mark.django_db
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
PEERS = [service for service in SERVICES if service is not ANALYTICS]
SCRIPT = Path(ROOT / "analytics_svc/static/analytics_svc/dashboard.js")


class Page(HTMLParser):
    """The page's tags, and its tables as rows of text by the id of their body."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.tables, self.figures, self.text, self.scripts = [], {}, {}, [], {}
        self._rows, self._figure, self._script = None, None, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append((tag, values))
        self._figure = values.get("data-figure") or (self._figure if tag == "a" else None)
        self._script = values.get("id") if tag == "script" else None
        if tag == "tbody":
            self._rows = self.tables.setdefault(values["id"], [])
        elif tag == "tr" and self._rows is not None:
            self._rows.append([])
        elif tag in ("th", "td") and self._rows:
            self._rows[-1].append("")

    def handle_endtag(self, tag):
        self._figure = self._script = None
        if tag == "tbody":
            self._rows = None

    def handle_data(self, data):
        if self._script:
            self.scripts[self._script] = data
            return
        self.text.append(data)
        if self._figure:
            self.figures[self._figure] = data
        if self._rows and self._rows[-1]:
            self._rows[-1][-1] = f"{self._rows[-1][-1]} {data.strip()}".strip()


class RefusesAll(BaseThrottle):
    def allow_request(self, request, view):
        return False


@pytest.fixture
def visit(client):
    def visit(query="", **headers):
        answer = client.get(f"/{query}", headers={"Accept": BROWSER, **headers})
        assert answer.status_code == 200, answer.content[:500]
        return Page(answer.content.decode())

    return visit


@pytest.fixture
def healths(peers, settings):
    """The health of each peer. Tests may change it or replace it by an exception or a status."""
    reported = {}
    for service in PEERS:
        reported[service.name] = {
            "status": "ok",
            "service": service.name,
            "version": "9.9.9",
            "mode": "production",
            "uptimeSeconds": 5.0,
            "checks": {"database": {"status": "ok", "latencyMs": 0.1}},
        }

        def answer(request, name=service.name):
            said = reported[name]
            if isinstance(said, Exception):
                raise said
            return (said, {}, "{}") if isinstance(said, int) else (200, {}, json.dumps(said))

        peers.add_callback("GET", f"{settings.PEER_URLS[service.name]}/health", callback=answer)
    return reported


def status_of(report, name):
    return next(each for each in report("platform")["services"] if each["service"] == name)


def test_the_page_has_nothing_in_it_that_the_policy_refuses(client, shop, healths):
    shop.order(1)
    answer = client.get("/", headers={"Accept": BROWSER})
    policy = answer["Content-Security-Policy"].split("; ")
    assert {"script-src 'self'", "style-src 'self'"} <= set(policy) and "unsafe" not in str(policy)
    assert answer["Cache-Control"] == "no-store"
    for tag, attributes in Page(answer.content.decode()).tags:
        assert tag != "style" and "style" not in attributes
        is_data = attributes.get("type") == "application/json"  # which a browser does not run
        assert tag != "script" or is_data or attributes["src"].startswith("/static/")
        assert not [name for name in attributes if name.startswith("on")]


def test_everything_that_the_page_loads_exists_on_our_host(client, visit, shop):
    tags = [values for tag, values in visit().tags if tag in ("script", "link", "img") and values.get("id") != "bars"]
    loaded = [values.get("src") or values["href"] for values in tags]
    assert any("chart" in url for url in loaded)
    for url in loaded:
        assert url.startswith("/static/")
        assert client.get(url).status_code == 200
    assert b"Permission is hereby granted" in client.get("/static/unfold/js/chart/LICENSE").getvalue()


def test_the_script_writes_no_style_attribute_and_no_html():
    script = SCRIPT.read_text()
    assert not re.findall(r"innerHTML\s*=[^=]|insertAdjacentHTML|document\.write|\beval\(|setAttribute\(.style", script)


def test_the_figures_of_the_moment_are_in_the_page(visit, shop, healths):
    shop.user(1)
    shop.user(2)
    shop.product(11, price=Decimal("19.99"), stock=3)
    shop.product(12, price=1, stock=0, name="Tea & <b>kettle</b>")
    shop.order(1, items=((11, 2, 1000),))
    shop.order(2, items=((11, 1, Decimal("0.5")),), day=1)
    shop.order(3, "cancelled")
    shop.notification(1, "failed")
    page = visit()
    assert page.figures["orders"] == "3" and page.figures["allOrders"] == "3"
    assert page.figures["revenue"] == "2,000.50" and page.figures["average"] == "1,000.25"
    assert page.figures["newUsers"] == "2" and page.figures["stockValue"] == "59.97"
    assert page.figures["sent"] == "0" and page.figures["failed"] == "1"
    assert page.figures["toShip"] == "2" and page.figures["outOfStock"] == "1" and page.figures["dead"] == "0"
    assert page.tables["statuses"] == [
        ["confirmed", "2", "67 %"],
        ["shipped", "0", "0 %"],
        ["delivered", "0", "0 %"],
        ["cancelled", "1", "33 %"],
        ["rejected", "0", "0 %"],
    ]
    assert page.tables["sellers"] == [["P11", "3", "2,000.50"]]
    assert page.tables["low"] == [["Tea & <b>kettle</b>", "sold out"], ["P11", "3"]]
    assert len(page.tables["days"]) == 30
    assert [row[1:] for row in page.tables["days"][:2]] == [["2", "2,000.00"], ["1", "0.50"]]


def test_amounts_are_written_to_the_cent_however_large(visit, shop):
    shop.order(1, items=((11, 1, 1),))
    shop.orders.events[0]["data"]["total"] = Decimal("9007199254740993.07")
    assert visit().figures["revenue"] == "9,007,199,254,740,993.07"


def bars(page):
    return json.loads(page.scripts["bars"])


def test_the_charts_are_drawn_from_figures_in_the_page(visit, shop, healths):
    shop.order(1, items=((11, 2, 1000),))
    shop.order(2, items=((11, 1, Decimal("0.5")),), day=1)
    shown = bars(visit("?days=7"))
    assert len(shown) == 7
    assert (shown[-1]["orders"], shown[-1]["revenue"], shown[-1]["ordersText"]) == (1, 2000, "1 order")
    assert (shown[-2]["revenueText"], shown[0]["ordersText"]) == ("0.50 USD", "0 orders")


def test_the_figures_are_of_the_chosen_days_and_compared_with_those_before(api, visit, shop, healths):
    for order_id, day in enumerate((0, 6, 7, 8, 9, 13, 14, 300), start=1):
        shop.order(order_id, items=((11, 1, 10),), day=day)
    shop.order(9, "cancelled", version=3, items=((11, 1, 99),))
    shop.user(1)
    for day in (0, 7):
        shop.notification(day + 1, "failed", day=day)
    period = api.get("/?days=7").json()["period"]
    assert period["now"] == {
        "orders": 3,
        "revenue": 20,
        "averageOrderValue": 10,
        "rejected": 0,
        "newUsers": 1,
        "sent": 0,
        "failed": 1,
    }
    assert (period["before"]["orders"], period["before"]["revenue"], period["before"]["failed"]) == (4, 40, 1)
    page = visit("?days=7")
    text = " ".join(" ".join(page.text).split())
    assert "-25 % from 4" in text and "-50 % from 40.00" in text and "±0 % from 10.00" in text
    assert page.figures["orders"] == "3"
    assert api.get("/?days=366").json()["period"]["now"]["orders"] == 9


def test_rejected_orders_are_counted_by_reason(api, visit, shop, healths):
    for order_id, reason in enumerate(("insufficient_stock", "insufficient_stock", "abandoned", "new_reason"), start=1):
        shop.order(order_id, "rejected", items=(), reason=reason)
    shop.order(5, "rejected", items=())
    shop.order(6, "rejected", items=(), reason="unavailable", day=8)
    period = api.get("/?days=7").json()["period"]
    assert (period["now"]["rejected"], period["before"]["rejected"]) == (5, 1)
    assert period["rejections"] == {"insufficient_stock": 2, "abandoned": 1, "other": 1, "unknown": 1}
    text = " ".join("".join(visit("?days=7").text).split())
    assert "2 too little stock, 1 given up by recovery, 1 another reason, 1 reason not recorded" in text
    assert "no sale was lost" not in text


def test_the_migration_counts_the_days_of_earlier_orders(shop, report, settings):
    settings.SHOP_TIME_ZONE = "Pacific/Kiritimati"
    for order_id, (status, day) in enumerate((("cancelled", 0), ("cancelled", 3), ("rejected", 3), ("shipped", 3))):
        shop.order(order_id, status, day=day)
    report("orders")
    days = DailyFigure.objects.filter(name__in=("orders.cancelled", "orders.rejected"))
    before = set(days.values_list("name", "date", "value"))
    assert len(before) == 3
    days.delete()
    migration = import_module("analytics_svc.migrations.0003_stock_and_rejections")
    for _ in range(2):
        with connection.cursor() as cursor:
            cursor.execute(migration.FILL)
        assert set(days.values_list("name", "date", "value")) == before


def test_overdue_orders_are_counted_by_order_service_at_that_moment(api, visit, shop, healths, report):
    assert report("platform")["overdueOrders"] == 0
    shop.orders.rows[7] = {"id": "7", "status": "pending"}
    assert report("platform")["overdueOrders"] == 1
    asked = shop.orders.listed[-1]
    assert asked["status"] == "pending" and asked["createdBefore"] < today().isoformat()
    page = visit()
    assert page.figures["stuck"] == "1" and "pending for over 60 s" in "".join(page.text)


@pytest.mark.parametrize("trouble", [(500, {}, "{}"), (200, {}, "[]")])
def test_overdue_orders_that_nobody_counted_are_not_shown_as_none(visit, shop, healths, report, trouble):
    shop.orders.list_step = lambda query: trouble
    assert report("platform")["overdueOrders"] is None
    page = visit()
    assert page.figures["stuck"] == "–" and "order-service did not answer" in "".join(page.text)


def test_figures_lead_to_their_lists(visit, shop, healths, settings):
    settings.PUBLIC_URLS = {
        **settings.PUBLIC_URLS,
        "product-service": "https://p.example",
        ORDER.name: "https://o.example",
    }
    healths[ORDER.name]["checks"]["outbox"] = {"status": "ok", "pending": 0, "oldestSeconds": None, "dead": 2}
    shop.product(12, stock=0)
    shop.order(1)
    page = visit()
    links = {values["href"] for tag, values in page.tags if tag == "a"}
    assert {
        "https://p.example/admin/product_svc/product/12/change/",
        "https://p.example/admin/product_svc/product/11/change/",
        "https://p.example/admin/product_svc/product/?stock=low",
        "https://o.example/admin/order_svc/order/?status=rejected",
        "https://o.example/admin/order_svc/order/?status=pending&stuck=yes",
        "https://o.example/admin/outbox/outboxmessage/?state=dead",
        "https://o.example/admin/",
    } <= links
    assert page.figures["dead"] == "2"


def test_everything_that_the_script_replaces_is_named_once(visit, shop):
    names = [values["data-live"] for _, values in visit().tags if "data-live" in values]
    assert len(names) == len(set(names)) >= 9


def test_each_table_and_chart_has_a_heading_and_each_chart_a_table(visit, shop):
    page = visit()
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    canvases = [values for tag, values in page.tags if tag == "canvas"]
    assert len(canvases) == 2 and all(c["role"] == "img" and "table" in c["aria-label"] for c in canvases)
    assert all(values.get("scope") for tag, values in page.tags if tag == "th")
    assert len([1 for _, values in page.tags if "status" in (values.get("role"), values.get("aria-live"))]) == 1


@pytest.mark.parametrize("days", [7, 90, 366])
def test_the_days_can_be_chosen(visit, shop, days):
    page = visit(f"?days={days}")
    assert len(page.tables["days"]) == days
    assert len(bars(page)) == days
    assert f"Last {days} days" in "".join(page.text)


def test_the_page_names_currency_and_time_zone(settings, shop, api):
    settings.CURRENCY, settings.SHOP_TIME_ZONE = "JPY", "Asia/Tokyo"
    shop.order(1, items=((11, 2, Decimal(1500)),))
    page = api.client.get("/", HTTP_ACCEPT="text/html").content.decode()
    assert "Revenue, JPY" in page and "3,000<" in page and "3,000." not in page
    assert "Day (Asia/Tokyo)" in page


@pytest.mark.parametrize("query", ["?days=0", "?days=x", "?day=7"])
def test_another_query_is_refused(api, shop, query):
    assert_problem(api.get(f"/{query}"), 400, "invalid")


def test_without_orders_the_page_shows_how_to_place_one_if_anonymous_callers_may(visit, shop):
    text = html.unescape("".join(visit().text))
    assert "No orders yet" in text
    assert f"curl -X POST {django_settings.PEER_URLS[ORDER.name]}/api/orders" in text


def test_the_page_names_stale_services(visit, shop):
    shop.orders.step = lambda query: (500, {}, "{}")
    assert "order-service did not answer in time" in "".join(visit().text)


def test_the_page_comes_when_no_peer_answers(visit, peers):
    page = visit()
    rows = {row[0].split()[0]: row for row in page.tables["services"]}
    own = rows.pop(ANALYTICS.name)
    assert {row[1] for row in rows.values()} == {"down"}
    assert {name: row[3] for name, row in rows.items() if name in SOURCES} == dict.fromkeys(SOURCES, "not known")
    assert own[1].startswith("up") and own[3] == "has none"


def test_the_page_comes_when_all_peers_keep_silent(visit, settings):
    with serving() as server:
        server.will(keeps_silent)
        settings.PEER_URLS = {**dict.fromkeys(settings.PEER_URLS, server.url)}
        page = visit()
    text = "".join(page.text)
    assert all(f"{name}" in text.partition("did not answer in time")[0] for name in SOURCES)
    assert page.figures["stuck"] == "–" and len(bars(page)) == 30


def test_the_scripts_requests_are_polls(client, shop, healths, caplog):
    caplog.set_level("DEBUG")
    client.get("/", headers={"Accept": BROWSER, "X-Purpose": "poll"})
    client.get("/", headers={"Accept": BROWSER})
    requests = [record for record in caplog.records if record.name == "platform.request"]
    assert [record.levelname for record in requests] == ["DEBUG", "INFO"]


@pytest.mark.usefixtures("production")
def test_inproduction_a_browser_is_shown_the_way_in_and_a_program_is_refused(client, api):
    answer = client.get("/", headers={"Accept": BROWSER})
    assert (answer.status_code, answer["Location"]) == (302, "/admin/login/?next=%2F")
    refused = api.get("/")
    assert_problem(refused, 401, "not_authenticated")
    assert refused["WWW-Authenticate"].startswith("Bearer")
    assert_problem(api.get("/", headers={"Authorization": "Bearer a.b.c"}), 401, "not_authenticated")
    assert_problem(api.get("/", headers=people.as_user(7)), 403, "permission_denied")


@pytest.mark.usefixtures("production")
@pytest.mark.parametrize("role", Role)
def test_inproduction_it_is_for_the_staff(visit, shop, role):
    page = visit(**people.as_user(9, role))
    assert page.figures["orders"] == "0"
    assert "curl" not in "".join(page.text)


@pytest.mark.usefixtures("production")
def test_inproduction_admin_sessions_open_the_dashboard(admin_client, shop):
    assert admin_client.get("/", headers={"Accept": BROWSER}).status_code == 200


def test_the_dashboard_only_allows_reading(api):
    assert_problem(api.post("/"), 405, "method_not_allowed")
    assert api.client.options("/").status_code == 204


def test_a_program_gets_the_figures_of_the_page(api, visit, shop, healths):
    shop.order(1, items=((11, 2, Decimal("0.55")),))
    answer = api.get("/?days=7")
    assert (answer["Content-Type"], answer["Cache-Control"]) == ("application/json", "no-store")
    figures = answer.json()
    assert (figures["orders"]["total"], figures["orders"]["revenue"], len(figures["orders"]["byDay"])) == (1, 1.1, 7)
    assert (len(figures["services"]), figures["stale"]) == (5, [])
    assert visit("?days=7").figures["revenue"] == "1.10"


@pytest.mark.usefixtures("production")
def test_the_exception_handler_of_the_settings_is_called(api, settings):
    def handler(exc, context):
        return Response({"mine": type(exc).__name__}, status=418)

    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "EXCEPTION_HANDLER": handler}
    assert api.get("/").json() == {"mine": "NotAuthenticated"}
    page = api.get("/", headers={"Accept": BROWSER})
    assert (page.status_code, page["Content-Type"]) == (418, "text/html; charset=utf-8")


def test_the_negotiation_class_chooses_between_page_and_figures(rf, shop, healths):
    class First(BaseContentNegotiation):
        def select_renderer(self, request, renderers, format_suffix=None):
            return renderers[0], renderers[0].media_type

    view = Dashboard.as_view({"get": "show"}, content_negotiation_class=First)
    assert view(rf.get("/", HTTP_ACCEPT=BROWSER)).render()["Content-Type"] == "application/json"
    view = Dashboard.as_view({"get": "show"}, throttle_classes=[RefusesAll])
    assert view(rf.get("/", HTTP_ACCEPT=BROWSER)).status_code == 429


def test_the_pages_of_the_api_lead_to_it(client, shop):
    assert '<a href="/">Dashboard</a>' in client.get("/api/", headers={"Accept": BROWSER}).content.decode()


def test_the_page_costs_a_bounded_number_of_queries(visit, shop, healths):
    shop.order(1)
    visit()
    with CaptureQueriesContext(connection) as captured:
        visit("?days=366")
    assert len(captured) <= 12, [query["sql"] for query in captured]


def test_the_platform_report_has_every_service(report, shop, healths):
    healths["order-service"]["checks"]["outbox"] = {"status": "ok", "pending": 3, "oldestSeconds": 7.5, "dead": 1}
    reported = report("platform")["services"]
    assert [each["service"] for each in reported] == [service.name for service in SERVICES]
    assert {each["status"] for each in reported} == {"ok"}
    assert all(each["latencyMs"] >= 0 for each in reported)
    assert (reported[0]["version"], reported[0]["mode"]) == ("9.9.9", "production")
    assert (reported[4]["version"], reported[4]["mode"]) == (__version__, "development")
    assert reported[2]["outbox"] == {"pending": 3, "oldestSeconds": 7.5, "dead": 1}
    assert [reported[n]["outbox"] for n in (0, 1, 3, 4)] == [None] * 4
    assert reported[4]["feedLag"] is None


@pytest.mark.parametrize("trouble", [ConnectionError("refused"), 503, 500, {"status": "ok"}], ids=str)
def test_a_service_with_an_invalid_answer_is_down_and_the_others_are_reported(report, shop, healths, trouble):
    healths["order-service"] = trouble
    reported = {each["service"]: each["status"] for each in report("platform")["services"]}
    assert reported.pop("order-service") == "down"
    assert set(reported.values()) == {"ok"}
    down = status_of(report, "order-service")
    assert {down[name] for name in ("latencyMs", "version", "mode", "outbox")} == {None}


def test_an_outbox_that_a_service_could_not_look_at_leaves_it_up(report, shop, healths):
    healths["order-service"]["checks"]["outbox"] = {"status": "down"}
    reported = status_of(report, "order-service")
    assert (reported["status"], reported["outbox"]) == ("ok", None)


def test_a_feed_is_behind_until_a_report_has_taken_it_in(report, shop, healths):
    assert status_of(report, "order-service")["feedLag"]["status"] == "current"
    shop.order(1)
    behind = status_of(report, "order-service")["feedLag"]
    assert behind["status"] == "behind" and 0 <= behind["seconds"] < 60
    report("orders")
    lag = status_of(report, "order-service")["feedLag"]
    assert (lag["status"], lag["seconds"]) == ("current", 0) and lag["caughtUpAt"]


def test_a_feed_that_cannot_show_everything_yet_is_pending_and_one_that_fails_is_not_known(report, shop, healths):
    shop.orders.pending = 1
    assert status_of(report, "order-service")["feedLag"] == {"status": "pending", "seconds": None, "caughtUpAt": None}
    shop.orders.step = lambda query: (500, {}, "{}")
    assert status_of(report, "order-service")["feedLag"]["status"] == "unknown"


def test_the_platform_report_applies_no_events_and_is_three_queries(report, shop, healths):
    shop.order(1)
    with CaptureQueriesContext(connection) as captured:
        report("platform")
    assert len(captured) == 3
    assert not FeedPosition.objects.exists()
    assert [asked["limit"] for asked in shop.orders.asked] == ["1"]


def test_the_platform_takes_no_parameters(api):
    assert_problem(api.get("/api/analytics/platform?days=7"), 400, "invalid", ["days"])
