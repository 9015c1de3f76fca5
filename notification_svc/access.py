"""Access rules of notification-service, for its routes and its admin pages."""

from platform_core.auth import GET, OWN, POST, STAFF, THEMSELVES, AdminPages, Rule
from platform_core.topology import ANALYTICS, ORDER, USER
from platform_core.vocabulary import Role

ORDERS, SUPPORT = Role.ORDERS, Role.SUPPORT

RULES = (
    Rule(GET, "/api/notifications", customers=OWN, staff=(SUPPORT,), services=(ANALYTICS, ORDER)),
    Rule(GET, "/api/notifications/{id}", customers=THEMSELVES, staff=(SUPPORT,)),
    Rule(POST, "/api/notifications/send", staff=(SUPPORT,), services=(ORDER, USER)),
    # Whoever may read the feeds may have their events delivered.
    Rule(("GET", "POST"), "/api/webhooks", staff=STAFF),
    Rule(("GET", "PATCH", "DELETE"), "/api/webhooks/{id}", staff=STAFF),
    Rule(POST, "/api/webhooks/{id}/secret", staff=STAFF),
    Rule(GET, "/api/webhooks/{id}/deliveries", staff=STAFF),
    Rule(POST, "/api/webhooks/{id}/deliveries/{id}/retry", staff=STAFF),
    Rule(GET, "/mails", staff=STAFF, development=True),
    Rule(GET, "/mails/{id}", staff=STAFF, development=True),
    Rule(GET, "/mails/{id}/html", staff=STAFF, development=True),
)

ADMIN_PAGES: AdminPages = {
    ORDERS: {"outbox": ("view", "change")},
    SUPPORT: {"notification_svc": ("view", "add", "change"), "outbox": ("view",)},
}
