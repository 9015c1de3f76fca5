"""What the table of rules must say, whatever else it says, and that its page in the docs says the same."""

import pytest

from platform_core.auth.identity import Identity, Kind, Role
from platform_core.auth.rules import RULES, Customers, access_table, admin_table, scope
from platform_core.conf.environment import ROOT
from platform_core.http.errors import Forbidden, NotAuthenticated, NotFound
from platform_core.topology import ANALYTICS, ORDER, SERVICES

CHANGING = {"POST", "PUT", "PATCH", "DELETE"}


def test_the_page_of_rules_is_the_one_that_the_code_gives():
    page = (ROOT / "docs" / "access.md").read_text()
    assert access_table() in page
    assert admin_table() in page


def test_a_method_of_a_route_has_one_rule():
    named = [(rule.service, method, rule.route) for rule in RULES for method in rule.methods]
    assert len(named) == len(set(named))


def test_what_anybody_may_change_is_signing_up_in_and_out_alone():
    open_doors = {
        (method, rule.route) for rule in RULES if rule.anybody for method in rule.methods if method in CHANGING
    }
    assert open_doors == {
        ("POST", route) for route in ("/api/users", "/api/auth/token", "/api/auth/refresh", "/api/auth/logout")
    }


def test_only_order_service_reserves_and_releases_stock():
    for rule in RULES:
        if rule.route == "/api/stock-reservations/{id}" and rule.methods != ("GET",):
            assert (rule.services, rule.staff, rule.customers) == ((ORDER,), (), Customers.NONE)


def test_only_analytics_service_and_the_staff_read_feeds():
    feeds = [rule for rule in RULES if rule.route == "/api/events"]
    assert len(feeds) == len([service for service in SERVICES if service.has_feed])
    for rule in feeds:
        assert (rule.services, rule.customers, rule.anybody) == ((ANALYTICS,), Customers.NONE, False)


def test_an_admin_reaches_what_any_role_reaches():
    admin = Identity(Kind.USER, "1", frozenset({Role.ADMIN}))
    for rule in RULES:
        if rule.staff:
            assert scope(rule, admin, "2") is None


@pytest.mark.parametrize("rule", [rule for rule in RULES if not rule.anybody], ids=lambda rule: rule.route)
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
