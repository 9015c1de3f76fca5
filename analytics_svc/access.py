"""Access rules of analytics-service, for its routes and its admin pages."""

from platform_core.auth import GET, STAFF, AdminPages, Rule

RULES = (
    Rule(GET, "/", staff=STAFF),
    Rule(GET, "/api/analytics/summary", staff=STAFF),
    Rule(GET, "/api/analytics/users", staff=STAFF),
    Rule(GET, "/api/analytics/products", staff=STAFF),
    Rule(GET, "/api/analytics/orders", staff=STAFF),
    Rule(GET, "/api/analytics/notifications", staff=STAFF),
    Rule(GET, "/api/analytics/platform", staff=STAFF),
)

ADMIN_PAGES: AdminPages = {role: {"analytics_svc": ("view",)} for role in STAFF}
