"""Access rules: the classes for a service's ``access.py``, and how its rules are applied.

The setting ``ACCESS_RULES`` names a service's module of rules, by default ``access`` in its package. The module has
two names: ``RULES``, a `Rule` for each route and its methods, and ``ADMIN_PAGES``, what roles may do in the admin. A
request without a rule is refused. System checks (`platform_core.auth.checks`) compare the module with the service.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import import_module

from django.conf import settings

from platform_core.auth.identity import Identity, Kind
from platform_core.http.errors import Forbidden, NotAuthenticated, NotFound
from platform_core.topology import ANALYTICS, NOTIFICATION, SERVICES, USER, Service
from platform_core.vocabulary import Role


class Customers(StrEnum):
    """What people without any of the rule's roles may do."""

    NONE = "–"
    THEMSELVES = "themselves"
    """The id in the path must be their own user id. Any other id is a 404."""
    OWN = "their own"
    """They may access their own rows; the view filters out all others (`ResourceViewSet.owner_field`)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may use these methods of a route.

    ``route`` is written without a trailing slash and with ``{id}`` for every id: ``/api/notes/{id}/archive``. A rule
    for GET holds for HEAD, too.
    """

    methods: tuple[str, ...]
    route: str
    anybody: bool = False
    """No token is required, and the other members have no effect."""
    customers: Customers = Customers.NONE
    staff: tuple[Role, ...] = ()
    """Roles that may access all rows of the route. ADMIN is added if there is any."""
    services: tuple[Service, ...] = ()
    """Services that may call it."""
    development: bool = False
    """The route is there in development only."""

    @property
    def roles(self) -> frozenset[Role]:
        """All roles that may access all rows, including ADMIN."""
        return frozenset((*self.staff, Role.ADMIN)) if self.staff else frozenset()


AdminPages = Mapping[Role, Mapping[str, tuple[str, ...]]]
"""What each role may do in a service's admin: ``{role: {app label: ("view", "add", "change", "delete")}}``.

ADMIN needs no entry: it may do everything.
"""

STAFF = tuple(Role)
GET, POST, DELETE = ("GET",), ("POST",), ("DELETE",)
WRITE = ("PUT", "PATCH", "DELETE")
THEMSELVES, OWN = Customers.THEMSELVES, Customers.OWN


def common_rules(service: Service) -> tuple[Rule, ...]:
    """The rules of the routes that every service gets from the library."""
    public = ("/api/", "/api/schema", "/api/docs", "/favicon.ico", "/health", "/health/live", "/health/ready")
    feed = (Rule(GET, "/api/events", staff=STAFF, services=(ANALYTICS, NOTIFICATION)),) if service.has_feed else ()
    office = (Rule(GET, "/find", staff=STAFF), Rule(GET, "/api/services", staff=STAFF))
    search = (Rule(GET, "/api/find", services=SERVICES),)
    people = () if service is USER else (Rule((*GET, *DELETE), "/api/people/{id}", services=(USER,)),)
    return (*(Rule(GET, route, anybody=True) for route in public), *office, *search, *feed, *people)


def rules_of(service: Service, module: str) -> tuple[Rule, ...]:
    """The rules in ``module`` and the common rules."""
    own: tuple[Rule, ...] = import_module(module).RULES
    return (*own, *common_rules(service))


def admin_pages_of(module: str) -> AdminPages:
    """``ADMIN_PAGES`` of ``module``."""
    pages: AdminPages = import_module(module).ADMIN_PAGES
    return pages


def viewers_of_pages(app: str) -> frozenset[Role]:
    """The roles that may see the pages of an app in this service's admin."""
    pages = admin_pages_of(settings.ACCESS_RULES)
    return frozenset((Role.ADMIN, *(role for role, apps in pages.items() if "view" in apps.get(app, ()))))


def viewers_of(route: str) -> frozenset[Role]:
    """The roles that may GET a route of this service for all rows."""
    rule = rule_for("GET", route)
    return frozenset() if rule is None else frozenset(Role) if rule.anybody else rule.roles


def has_pages_in(service: Service, roles: frozenset[Role]) -> bool:
    """Whether the admin of a service, which may be another one, has pages for somebody with these roles."""
    module = settings.ACCESS_RULES if service is settings.SERVICE else service.access_module
    return Role.ADMIN in roles or any(admin_pages_of(module).get(role) for role in roles)


@cache
def _by_route(service: Service, module: str) -> dict[tuple[str, str], Rule]:
    return {(method, rule.route): rule for rule in rules_of(service, module) for method in rule.methods}


def rule_for(method: str, route: str) -> Rule | None:
    """The rule of this service for a method of a route; None if there is none."""
    rules = _by_route(settings.SERVICE, settings.ACCESS_RULES)
    return rules.get(("GET" if method == "HEAD" else method, route))


def scope(rule: Rule, caller: Identity, id_in_path: str | None) -> int | None:
    """The id of the user to whose rows the caller is restricted; None if there is no restriction.

    Raises NotAuthenticated, Forbidden, or NotFound if the id in the path belongs to somebody else.
    """
    if rule.anybody or (caller.roles & rule.roles):
        return None
    if caller.kind is Kind.NOBODY:
        raise NotAuthenticated()
    if caller.kind is Kind.SERVICE:
        if caller.subject in [service.name for service in rule.services]:
            return None
        raise Forbidden(f"{caller.subject} may not call this.")
    return _own_scope(rule, caller, id_in_path)


def _own_scope(rule: Rule, caller: Identity, id_in_path: str | None) -> int:
    if rule.customers is Customers.NONE or caller.user_id is None:
        raise Forbidden(f"This is for {_whom(rule)}.")
    if rule.customers is THEMSELVES and (id_in_path or "").lstrip("0") != caller.subject.lstrip("0"):
        raise NotFound()
    return caller.user_id


def _whom(rule: Rule) -> str:
    if rule.roles:
        return f"staff with one of the roles {', '.join(sorted(rule.roles))}"
    return "services" if rule.customers is Customers.NONE else "people with an account of user-service"
