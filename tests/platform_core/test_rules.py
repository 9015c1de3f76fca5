"""Access rules: rules of all services, their application by the library, and their system checks."""

import re
import sys
from types import ModuleType
from typing import Any

import pytest
from django.core.management import BaseCommand, CommandError, call_command
from django.http import HttpResponse
from django.urls import include, path
from django.views.generic import View
from rest_framework.response import Response
from rest_framework.views import APIView

from order_svc import access
from platform_core import urls
from platform_core.auth.checks import check_access_rules
from platform_core.auth.identity import Identity, Kind
from platform_core.auth.rules import GET, Customers, Rule, common_rules, rule_for, rules_of, scope
from platform_core.conf.checks import START, WEB, exit_on_errors
from platform_core.conf.environment import ROOT
from platform_core.conf.settings import service_settings
from platform_core.http.errors import Forbidden, NotAuthenticated, NotFound
from platform_core.topology import ANALYTICS, NOTIFICATION, ORDER, PRODUCT, SERVICES
from platform_core.vocabulary import Role
from tests.platform_core.notes import access as notes_access

RULES = {service: rules_of(service, service.access_module) for service in SERVICES}
ALL = [rule for rules in RULES.values() for rule in rules]
CHANGING = {"POST", "PUT", "PATCH", "DELETE"}


def test_anonymous_callers_may_only_sign_up_sign_in_sign_out_and_follow_links():
    open_doors = {(method, rule.route) for rule in ALL if rule.anybody for method in rule.methods if method in CHANGING}
    auth = ("token", "refresh", "logout", "password-reset", "password-reset/confirm", "verify-email")
    assert open_doors == {("POST", "/api/users"), *(("POST", f"/api/auth/{route}") for route in auth)}


def test_only_order_service_reserves_and_releases_stock():
    writing = [r for r in RULES[PRODUCT] if r.route == "/api/stock-reservations/{id}" and r.methods != ("GET",)]
    assert writing
    for rule in writing:
        assert (rule.services, rule.staff, rule.customers) == ((ORDER,), (), Customers.NONE)


def test_only_the_consumers_and_the_staff_read_feeds():
    feeds = [rule for rule in ALL if rule.route == "/api/events"]
    assert len(feeds) == len([service for service in SERVICES if service.has_feed])
    for rule in feeds:
        assert (rule.services, rule.customers, rule.anybody) == ((ANALYTICS, NOTIFICATION), Customers.NONE, False)


def test_an_admin_reaches_what_any_role_reaches():
    admin = Identity(Kind.USER, "1", frozenset({Role.ADMIN}))
    for rule in ALL:
        if rule.staff:
            assert scope(rule, admin, "2") is None


@pytest.mark.parametrize("rule", [rule for rule in ALL if not rule.anybody], ids=lambda rule: rule.route)
def test_a_customer_is_confined_to_their_own_or_refused(rule):
    customer = Identity(Kind.USER, "7")
    with pytest.raises(NotAuthenticated):
        scope(rule, Identity(), "7")
    if rule.customers is Customers.NONE:
        with pytest.raises(Forbidden):
            scope(rule, customer, "7")
        return
    assert scope(rule, customer, "7") == 7
    if rule.customers is Customers.THEMSELVES:
        for others in ("8", "77", "", "7.", "٧"):
            with pytest.raises(NotFound):
                scope(rule, customer, others)


def test_the_library_names_no_route_of_a_service():
    """Only the typed clients and the tools may, because they call the services."""
    own = {rule.route for service in SERVICES for rule in RULES[service]} - {r.route for r in common_rules(ORDER)}
    beginnings = {"/".join(route.split("/")[:3]).removesuffix("/{id}") for route in own} - {"/"}
    assert {"/api/users", "/api/orders", "/orders", "/.well-known/jwks.json"} <= beginnings
    named = re.compile("|".join(f"{re.escape(each)}\\b" for each in beginnings))
    library = ROOT / "platform_core"
    found = [
        f"{file.relative_to(ROOT)}: {name[0]}"
        for file in library.rglob("*.py")
        if file.relative_to(library).parts[0] not in ("clients", "tools")
        for name in named.finditer(file.read_text())
    ]
    assert not found


@pytest.fixture
def rules(settings, monkeypatch):
    """Replaces the service's rules with a module of these names."""

    def rules(**names: Any) -> None:
        module = ModuleType("access_of_a_test")
        vars(module).update(names)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        settings.ACCESS_RULES = module.__name__

    return rules


@pytest.fixture
def serve_also(settings, monkeypatch, rules):
    """Adds URL patterns to those of the service."""

    def serve_also(*patterns: Any) -> None:
        module: Any = ModuleType("urls_of_a_test")
        module.urlpatterns = [*urls.urlpatterns, *patterns]
        module.handler404, module.handler500 = urls.handler404, urls.handler500
        monkeypatch.setitem(sys.modules, module.__name__, module)
        settings.ROOT_URLCONF = module.__name__
        rules(RULES=access.RULES, ADMIN_PAGES={})

    return serve_also


class Reports(APIView):
    def get(self, request: Any) -> Response:
        return Response({})

    def post(self, request: Any) -> Response:
        return Response({})


class PlainReports(View):
    def get(self, request: Any) -> HttpResponse:
        return HttpResponse()


def problems() -> list[tuple[str, str]]:
    return [(str(each.id).rpartition(".")[2], each.msg) for each in check_access_rules()]


def test_the_module_of_rules_is_by_default_access_in_the_service_and_can_be_named(settings):
    assert service_settings("product_svc", environment={})["ACCESS_RULES"] == "product_svc.access"
    assert rule_for("GET", "/api/notes") in notes_access.RULES
    settings.ACCESS_RULES = "order_svc.access"
    assert rule_for("GET", "/api/notes") is None
    assert rule_for("HEAD", "/api/orders") is rule_for("GET", "/api/orders") is access.RULES[0]


def test_the_rules_of_this_service_are_complete():
    assert problems() == []


def test_a_route_without_a_rule_is_refused_at_start(serve_also):
    serve_also(path("reports", Reports.as_view()), path("more/", include([path("<int:pk>", Reports.as_view())])))
    assert problems() == [
        ("E002", f"{method} {route} has no rule, so all requests are refused.")
        for method in ("GET", "POST")
        for route in ("/more/{id}", "/reports")
    ]


def test_a_rule_for_a_route_that_is_not_there_is_refused_at_start(rules):
    gone = (Rule(GET, "/api/notes/{id}/gone"), Rule(("DELETE",), "/api/notes"))
    rules(RULES=(*notes_access.RULES, *gone), ADMIN_PAGES={})
    assert problems() == [
        ("E003", "order-service has a rule for DELETE /api/notes but no such route."),
        ("E003", "order-service has a rule for GET /api/notes/{id}/gone but no such route."),
    ]


def test_rules_of_another_service_are_refused_at_start(rules):
    pages = {Role.CATALOG: {"product_svc": ("view",)}}
    rules(RULES=(*notes_access.RULES, Rule(GET, "/api/products", anybody=True)), ADMIN_PAGES=pages)
    assert problems() == [
        ("E003", "order-service has a rule for GET /api/products but no such route."),
        ("E006", "ADMIN_PAGES of catalog names the app product_svc, which this service does not have."),
    ]


def test_the_module_of_another_service_is_refused_at_start(settings):
    settings.ACCESS_RULES = "product_svc.access"
    assert {"E002", "E003", "E006"} == {number for number, _ in problems()}


def test_two_rules_for_the_same_are_refused_at_start(rules):
    again = (Rule(("GET", "PUT"), "/api/notes/{id}"), Rule(GET, "/health", anybody=True))
    rules(RULES=(*notes_access.RULES, *again), ADMIN_PAGES={})
    assert problems() == [
        ("E004", "GET /api/notes/{id} has 2 rules."),
        ("E004", "PUT /api/notes/{id} has 2 rules."),
        ("E004", "GET /health has 2 rules."),
    ]


@pytest.mark.parametrize("view", [PlainReports.as_view(), lambda request: HttpResponse()], ids=["class", "function"])
def test_a_rule_that_nothing_applies_is_refused_at_start(serve_also, rules, view):
    serve_also(path("reports", view))
    rules(RULES=(*access.RULES, Rule(GET, "/reports", staff=(Role.ORDERS,))), ADMIN_PAGES={})
    assert problems() == [
        ("E005", "Nothing applies the rule of /reports: its view is not one of Django REST framework.")
    ]
    rules(RULES=(*access.RULES, Rule(GET, "/reports", anybody=True)), ADMIN_PAGES={})
    assert problems() == []


def test_an_action_that_no_admin_has_is_refused_at_start(rules):
    rules(RULES=notes_access.RULES, ADMIN_PAGES={Role.ORDERS: {"order_svc": ("view", "edit")}})
    assert problems() == [("E006", "ADMIN_PAGES of orders names the action 'edit'.")]


def test_a_module_that_is_not_there_or_lacks_a_name_is_refused_at_start(settings, rules):
    settings.ACCESS_RULES = "order_svc.rules"
    assert problems() == [("E001", "There is no module order_svc.rules.")]
    rules(RULES=())
    assert problems() == [("E001", "access_of_a_test has no ADMIN_PAGES.")]


def test_the_web_does_not_start_and_the_worker_does_not_look(rules, capsys):
    rules(RULES=notes_access.RULES[1:], ADMIN_PAGES={})
    BaseCommand().check(tags=[START])  # as the worker command does
    with pytest.raises(CommandError, match=r"platform_core\.E002"):
        call_command("check", tags=[WEB])
    with pytest.raises(CommandError, match="GET /api/orders has no rule"):
        call_command("check")
    with pytest.raises(SystemExit) as stopped:
        exit_on_errors()
    assert stopped.value.code == 78
    assert "GET /api/orders has no rule" in capsys.readouterr().err


def test_an_error_can_be_silenced(settings, rules):
    settings.SILENCED_SYSTEM_CHECKS = ["platform_core.E002"]
    rules(RULES=notes_access.RULES[1:], ADMIN_PAGES={})
    exit_on_errors()


@pytest.mark.django_db
def test_a_request_without_a_rule_is_refused(settings, production, rules, api):
    from tests import people

    rules(RULES=(), ADMIN_PAGES={})
    for headers in ({}, people.as_user(1), people.as_user(1, "admin"), people.as_service(ANALYTICS, ORDER)):
        assert api.get("/api/orders", headers=headers).status_code in (401, 403)
