"""Calls every route of a service, with every method, as every kind of caller, and compares with the access rules.

A suite includes these tests with ``from tests.access import *``.
"""

import re
from typing import Any

import pytest
from django.conf import settings as django_settings

from platform_core.auth.access import bare
from platform_core.auth.checks import check_access_rules, routes
from platform_core.auth.rules import Customers, Rule, rule_for
from platform_core.topology import SERVICES
from platform_core.vocabulary import Role
from tests import people

__all__ = [
    "test_a_route_is_open_only_to_the_callers_in_its_rule",
    "test_in_development_anonymous_callers_may_do_everything_and_tokens_are_enforced",
    "test_the_rules_are_complete",
]

OWN, ANOTHERS = 7, 8
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
pytestmark = pytest.mark.django_db


def known_methods() -> dict[str, set[str]]:
    """The service's routes that have rules, each with the methods that its view has."""
    found: dict[str, set[str]] = {}
    for route in routes():
        found.setdefault(route.path, set()).update(route.methods)
    return found


def callers() -> dict[str, tuple[dict[str, str], Role | str]]:
    """Each kind of caller: its headers, and its role, or what else it is."""
    return {
        "nobody": ({}, "nobody"),
        "somebody with a bad token": ({"Authorization": "Bearer a.b.c"}, "bad"),
        "a customer": (people.as_user(OWN), "customer"),
        **{f"staff: {role}": (people.as_user(9, role), role) for role in Role},
        **{s.name: (people.as_service(s, django_settings.SERVICE), s.name) for s in SERVICES},
    }


@pytest.fixture
def _people(known_callers: None) -> None:
    """In user-service the callers must exist as users."""
    if django_settings.SERVICE.package == "user_svc":
        from user_svc.models import User

        for pk in (OWN, 9):
            User.objects.create(pk=pk, name="Ann", email=f"ann{pk}@example.com")


def _paths(route: str) -> list[tuple[str, bool]]:
    """The route with the customer's own id, and with another one's."""
    if "{" not in route:
        return [(route, True)]
    return [(re.sub(r"\{\w+\}", str(number), route), number == OWN) for number in (OWN, ANOTHERS)]


def _expected(rule: Rule, kind: Role | str, is_own: bool) -> int | None:
    """The expected status for a refused caller, or None if access is allowed. It restates the rules independently."""
    if rule.anybody:
        return None
    if kind == "nobody":
        return 401
    if kind in {service.name for service in SERVICES}:
        return None if kind in {service.name for service in rule.services} else 403
    if isinstance(kind, Role) and rule.staff and (kind in rule.staff or kind is Role.ADMIN):
        return None
    if rule.customers is Customers.NONE:
        return 403
    theirs = is_own and not isinstance(kind, Role)
    return 404 if rule.customers is Customers.THEMSELVES and "{" in rule.route and not theirs else None


def _ask(api: Any, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
    response = api.client.generic(method, path, b"{}", content_type="application/json", headers=headers)
    is_problem = response.get("Content-Type") == "application/problem+json" and method != "HEAD"
    return response.status_code, response.json()["code"] if is_problem else ""


def _answers_to(api: Any, route: str, known: set[str], *, is_open: bool = False) -> list[str]:
    """Yields the problems with a route's responses."""
    wrong = []
    for method in METHODS:
        rule = rule_for(method, bare(route))
        few = ("nobody", "bad") if rule is not None and rule.anybody else None
        for path, is_own in _paths(route):
            for name, (headers, kind) in callers().items():
                if few and kind not in few:
                    continue
                status, code = _ask(api, method, path, headers)
                wanted = _wanted(rule, kind, is_own, method, route, known)
                if is_open and kind == "nobody" and wanted == 401:
                    wanted = None
                refused = status in (401, 403) and code != "invalid_credentials"
                if (refused or (wanted == 405) != (status == 405)) if wanted in (None, 405) else status != wanted:
                    wrong.append(f"{method} {path} as {name}: {status} {code}, expected {wanted or 'to be let in'}")
    return wrong


def _wanted(rule: Rule | None, kind: Role | str, is_own: bool, method: str, route: str, known: set[str]) -> int | None:
    if kind == "bad" and route not in _ASKING_NOBODY:
        return 401
    if method == "OPTIONS" and not route.startswith(("/health", "/favicon")):
        return None
    if (("GET" if method == "HEAD" else method) not in known) or rule is None:
        return 405
    return _expected(rule, kind, is_own)


_ASKING_NOBODY = {
    *("/api/auth/token", "/api/auth/refresh", "/api/auth/logout", "/.well-known/jwks.json"),
    *("/api/auth/password-reset", "/api/auth/password-reset/confirm", "/api/auth/verify-email"),
    *("/health", "/health/live", "/health/ready", "/favicon.ico"),
}
"""Routes that ignore tokens, so that an expired one does no harm."""


def test_the_rules_are_complete() -> None:
    """The system checks of the rules find nothing (tests/platform_core/test_rules.py has what they find)."""
    assert check_access_rules() == []


@pytest.mark.usefixtures("_people")
def test_a_route_is_open_only_to_the_callers_in_its_rule(api: Any, settings: Any) -> None:
    settings.PLATFORM_ENV = "production"
    wrong = [line for route, known in known_methods().items() for line in _answers_to(api, route, known)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.usefixtures("_people")
def test_in_development_anonymous_callers_may_do_everything_and_tokens_are_enforced(api: Any) -> None:
    own = {"/api/users/me", "/api/users/me/password"}  # they need a signed-in user
    wrong = [
        line
        for route, known in known_methods().items()
        if route not in own
        for line in _answers_to(api, route, known, is_open=True)
    ]
    assert not wrong, "\n".join(wrong)
