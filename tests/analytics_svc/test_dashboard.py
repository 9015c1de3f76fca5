"""The dashboard's page, and `/api/analytics/platform`, which gives it the status of the services."""

import html
import json
import re
from decimal import Decimal
from html.parser import HTMLParser
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
from analytics_svc.models import FeedPosition
from platform_core import __version__
from platform_core.conf.environment import ROOT
from platform_core.topology import ANALYTICS, ORDER, SERVICES
from platform_core.vocabulary import Role
from tests import people
from tests.wire import assert_problem

pytestmark = pytest.mark.django_db
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
PEERS = [service for service in SERVICES if service is not ANALYTICS]
SCRIPT = Path(ROOT / "analytics_svc/static/analytics_svc/dashboard.js")


class Page(HTMLParser):
    """The page's tags, and its tables as rows of text by the id of their body."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.tables, self.figures, self.text = [], {}, {}, []
        self._rows, self._figure = None, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append((tag, values))
        self._figure = values.get("data-figure")
        if tag == "tbody":
            self._rows = self.tables.setdefault(values["id"], [])
        elif tag == "tr" and self._rows is not None:
            self._rows.append([])
        elif tag in ("th", "td") and self._rows:
            self._rows[-1].append("")

    def handle_endtag(self, tag):
        self._figure = None
        if tag == "tbody":
            self._rows = None

    def handle_data(self, data):
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
        assert tag != "script" or attributes["src"].startswith("/static/")
        assert not [name for name in attributes if name.startswith("on")]


def test_everything_that_the_page_loads_exists_on_our_host(client, visit, shop):
    loaded = [values.get("src") or values["href"] for tag, values in visit().tags if tag in ("script", "link", "img")]
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
    assert page.figures["orders"] == "3" and page.figures["ordersToday"] == "2"
    assert page.figures["revenue"] == "2,000.50" and page.figures["average"] == "1,000.25"
    assert page.figures["users"] == "2" and page.figures["stockValue"] == "59.97"
    assert page.figures["sent"] == "0" and page.figures["failed"] == "1"
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


def test_every_figure_that_the_script_renews_is_in_the_page(visit, shop):
    written = set(re.findall(r"data-figure=(\w+)|(?<=[{,\s])(\w+): (?:count|money)\(", SCRIPT.read_text()))
    names = {name for pair in written for name in pair if name} | {"bestRevenue", "bestOrders"}
    assert set(visit().figures) == names


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
    assert ("body", {"data-days": str(days), "data-decimals": "2"}) in page.tags


def test_the_page_names_currency_and_time_zone(settings, shop, api):
    settings.CURRENCY, settings.SHOP_TIME_ZONE = "JPY", "Asia/Tokyo"
    shop.order(1, items=((11, 2, Decimal(1500)),))
    page = api.client.get("/", HTTP_ACCEPT="text/html").content.decode()
    assert 'data-decimals="0"' in page
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
