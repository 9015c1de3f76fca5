"""Access rules of user-service, for its routes and its admin pages."""

from platform_core.auth import DELETE, GET, OWN, POST, THEMSELVES, WRITE, AdminPages, Rule
from platform_core.topology import ANALYTICS, NOTIFICATION, ORDER, SERVICES
from platform_core.vocabulary import Role

ORDERS, SUPPORT = Role.ORDERS, Role.SUPPORT

RULES = (
    Rule(POST, "/api/users", anybody=True),
    Rule(GET, "/api/users", staff=(SUPPORT, ORDERS), services=(ANALYTICS, ORDER)),
    Rule(GET, "/api/users/{id}", customers=THEMSELVES, staff=(SUPPORT, ORDERS), services=(ORDER, NOTIFICATION)),
    Rule(WRITE, "/api/users/{id}", customers=THEMSELVES, staff=(SUPPORT,)),
    Rule(GET, "/api/users/me", customers=OWN),
    Rule(POST, "/api/users/me/password", customers=OWN),
    Rule(POST, "/api/auth/token", anybody=True),
    Rule(POST, "/api/auth/refresh", anybody=True),
    Rule(POST, "/api/auth/logout", anybody=True),
    Rule(POST, "/api/auth/password-reset", anybody=True),
    Rule(POST, "/api/auth/password-reset/confirm", anybody=True),
    Rule(POST, "/api/auth/verify-email", anybody=True),
    Rule(POST, "/api/auth/staff", services=SERVICES),
    Rule(GET, "/api/auth/staff/{id}", services=SERVICES),
    Rule((*GET, *DELETE), "/api/auth/staff/{id}/sessions/{id}", services=SERVICES),
    Rule(GET, "/.well-known/jwks.json", anybody=True),
)

ADMIN_PAGES: AdminPages = {SUPPORT: {"user_svc": ("view", "change", "delete"), "outbox": ("view",)}}
