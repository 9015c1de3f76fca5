"""Who may do what: one row for each method and route of the five services. What has no row is refused.

docs/access.md is made of this table, and a test asks every route in every way that the table knows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from platform_core.auth.identity import Identity, Kind, Role
from platform_core.http.errors import Forbidden, NotAuthenticated, NotFound
from platform_core.topology import ANALYTICS, NOTIFICATION, ORDER, PRODUCT, SERVICES, USER, Service


class Customers(StrEnum):
    """What a person may do whose roles do not say more."""

    NONE = "–"
    THEMSELVES = "themselves"
    """The id in the path is a user's, and must be their own; any other is a 404."""
    OWN = "their own"
    """The view narrows its rows to theirs; any other is a 404, or not in the list."""
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Rule:
    """``route`` as `platform_core.http.middleware.readable` gives it, with every id as ``{id}``.

    ``staff``: the roles that reach everything behind the route; `admin` does so wherever any role does.
    """

    service: Service
    methods: tuple[str, ...]
    route: str
    anybody: bool = False
    customers: Customers = Customers.NONE
    staff: tuple[Role, ...] = ()
    services: tuple[Service, ...] = ()

    @property
    def roles(self) -> frozenset[Role]:
        return frozenset((*self.staff, Role.ADMIN)) if self.staff else frozenset()


CATALOG, ORDERS, SUPPORT = Role.CATALOG, Role.ORDERS, Role.SUPPORT
STAFF = tuple(Role)
GET, POST, DELETE = ("GET",), ("POST",), ("DELETE",)
WRITE = ("PUT", "PATCH", "DELETE")
THEMSELVES, OWN = Customers.THEMSELVES, Customers.OWN


def _everywhere(service: Service) -> tuple[Rule, ...]:
    public = ("/api/", "/api/schema", "/api/docs", "/health", "/health/live", "/health/ready")
    feed = (Rule(service, GET, "/api/events", staff=STAFF, services=(ANALYTICS,)),) if service.has_feed else ()
    return (*(Rule(service, GET, route, anybody=True) for route in public), *feed)


RULES = (
    Rule(USER, POST, "/api/users", anybody=True),
    Rule(USER, GET, "/api/users", staff=(SUPPORT, ORDERS), services=(ANALYTICS,)),
    Rule(USER, GET, "/api/users/{id}", customers=THEMSELVES, staff=(SUPPORT, ORDERS), services=(ORDER, NOTIFICATION)),
    Rule(USER, WRITE, "/api/users/{id}", customers=THEMSELVES, staff=(SUPPORT,)),
    Rule(USER, GET, "/api/users/me", customers=OWN),
    Rule(USER, POST, "/api/users/me/password", customers=OWN),
    Rule(USER, POST, "/api/auth/token", anybody=True),
    Rule(USER, POST, "/api/auth/refresh", anybody=True),
    Rule(USER, POST, "/api/auth/logout", anybody=True),
    Rule(USER, POST, "/api/auth/staff", services=SERVICES),
    Rule(USER, GET, "/api/auth/staff/{id}", services=SERVICES),
    Rule(USER, GET, "/.well-known/jwks.json", anybody=True),
    Rule(PRODUCT, GET, "/api/products", anybody=True),
    Rule(PRODUCT, POST, "/api/products", staff=(CATALOG,)),
    Rule(PRODUCT, POST, "/api/products/bulk", staff=(CATALOG,)),
    Rule(PRODUCT, GET, "/api/products/{id}", anybody=True),
    Rule(PRODUCT, WRITE, "/api/products/{id}", staff=(CATALOG,)),
    Rule(PRODUCT, ("GET", "POST"), "/api/products/{id}/stock-adjustments", staff=(CATALOG,)),
    Rule(PRODUCT, GET, "/api/stock-reservations/{id}", staff=(CATALOG, ORDERS, SUPPORT), services=(ORDER,)),
    Rule(PRODUCT, ("PUT", "DELETE"), "/api/stock-reservations/{id}", services=(ORDER,)),
    Rule(ORDER, GET, "/api/orders", customers=OWN, staff=(ORDERS, SUPPORT), services=(ANALYTICS,)),
    Rule(ORDER, POST, "/api/orders", customers=OWN, staff=(ORDERS, SUPPORT)),
    Rule(ORDER, GET, "/api/orders/{id}", customers=OWN, staff=(ORDERS, SUPPORT)),
    Rule(ORDER, GET, "/api/orders/user/{id}", customers=THEMSELVES, staff=(ORDERS, SUPPORT)),
    Rule(ORDER, POST, "/api/orders/{id}/cancel", customers=OWN, staff=(ORDERS, SUPPORT)),
    Rule(ORDER, POST, "/api/orders/{id}/ship", staff=(ORDERS,)),
    Rule(ORDER, POST, "/api/orders/{id}/deliver", staff=(ORDERS,)),
    Rule(ORDER, GET, "/api/orders/{id}/explain", staff=(ORDERS, SUPPORT)),
    Rule(ORDER, GET, "/orders/{id}/explain", staff=(ORDERS, SUPPORT)),
    *(Rule(ORDER, POST, f"/orders/{{id}}/explain/{what}", staff=(ORDERS,)) for what in ("retry", "cancel", "reject")),
    Rule(NOTIFICATION, GET, "/api/notifications", customers=OWN, staff=(SUPPORT,), services=(ANALYTICS, ORDER)),
    Rule(NOTIFICATION, GET, "/api/notifications/{id}", customers=THEMSELVES, staff=(SUPPORT,)),
    Rule(NOTIFICATION, POST, "/api/notifications/send", staff=(SUPPORT,), services=(ORDER,)),
    Rule(ANALYTICS, GET, "/", staff=STAFF),
    *(
        Rule(ANALYTICS, GET, f"/api/analytics/{report}", staff=STAFF)
        for report in ("summary", "users", "products", "orders", "notifications", "platform")
    ),
    *(rule for service in SERVICES for rule in _everywhere(service)),
)

ADMIN_PAGES: Mapping[Role, Mapping[str, tuple[str, ...]]] = {
    CATALOG: {"product_svc": ("view", "add", "change", "delete")},
    ORDERS: {"order_svc": ("view", "change"), "outbox": ("view", "change"), "product_svc": ("view",)},
    SUPPORT: {
        "user_svc": ("view", "change", "delete"),
        "order_svc": ("view",),
        "notification_svc": ("view", "add", "change"),
        "outbox": ("view",),
    },
}
"""What a role may do in the admins, by app. Every member of the staff sees `analytics_svc`; `admin` may do all."""


@cache
def _by_route() -> dict[tuple[str, str, str], Rule]:
    return {(rule.service.package, method, rule.route): rule for rule in RULES for method in rule.methods}


def rule_for(service: Service, method: str, route: str) -> Rule | None:
    return _by_route().get((service.package, "GET" if method == "HEAD" else method, route))


def scope(rule: Rule, caller: Identity, id_in_path: str | None) -> int | None:
    """The id of the user whose rows the caller is confined to; None when it may reach all.

    Raises NotAuthenticated, Forbidden, or NotFound for what is another's.
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


def access_table() -> str:
    """The rules as tables in Markdown, one for each service, for the docs."""
    return "\n\n".join(f"## {service.name}\n\n{_table(service)}" for service in SERVICES)


def _table(service: Service) -> str:
    head = ["| method | route | anybody | customers | staff | services |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *(_row(rule) for rule in RULES if rule.service is service)])


def _row(rule: Rule) -> str:
    if rule.anybody:
        who = ["yes", "yes", "yes", "yes"]
    else:
        staff = "every role" if rule.staff == STAFF else ", ".join(f"`{role}`" for role in sorted(rule.roles))
        callers = "all" if rule.services == SERVICES else ", ".join(service.name for service in rule.services)
        who = ["–", rule.customers, staff or "–", callers or "–"]
    return f"| {', '.join(rule.methods)} | `{rule.route}` | {' | '.join(who)} |"


def admin_table() -> str:
    """What the roles may do in the admins, in Markdown."""
    rows = [f"| `{role}` | {_apps_of(apps)} |" for role, apps in ADMIN_PAGES.items()]
    return "\n".join(["| role | in the admins |", "|---|---|", *rows, "| `admin` | everything |"])


def _apps_of(apps: Mapping[str, tuple[str, ...]]) -> str:
    return "; ".join(f"`{app}`: " + ", ".join(actions) for app, actions in apps.items())
