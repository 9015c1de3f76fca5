"""Access rules of order-service, for its routes and its admin pages."""

from platform_core.auth import GET, OWN, POST, THEMSELVES, AdminPages, Rule
from platform_core.topology import ANALYTICS
from platform_core.vocabulary import Role

ORDERS, SUPPORT = Role.ORDERS, Role.SUPPORT

RULES = (
    Rule(GET, "/api/orders", customers=OWN, staff=(ORDERS, SUPPORT), services=(ANALYTICS,)),
    Rule(POST, "/api/orders", customers=OWN, staff=(ORDERS, SUPPORT)),
    Rule(GET, "/api/orders/{id}", customers=OWN, staff=(ORDERS, SUPPORT)),
    Rule(GET, "/api/orders/user/{id}", customers=THEMSELVES, staff=(ORDERS, SUPPORT)),
    Rule(POST, "/api/orders/{id}/cancel", customers=OWN, staff=(ORDERS, SUPPORT)),
    Rule(POST, "/api/orders/{id}/ship", staff=(ORDERS,)),
    Rule(POST, "/api/orders/{id}/deliver", staff=(ORDERS,)),
    Rule(GET, "/api/orders/{id}/explain", staff=(ORDERS, SUPPORT)),
    Rule(GET, "/orders/{id}/explain", staff=(ORDERS, SUPPORT)),
    Rule(POST, "/orders/{id}/explain/retry", staff=(ORDERS,)),
    Rule(POST, "/orders/{id}/explain/cancel", staff=(ORDERS, SUPPORT)),
    Rule(POST, "/orders/{id}/explain/ship", staff=(ORDERS,)),
    Rule(POST, "/orders/{id}/explain/deliver", staff=(ORDERS,)),
    Rule(POST, "/orders/{id}/explain/reject", staff=(ORDERS,)),
)

ADMIN_PAGES: AdminPages = {
    ORDERS: {"order_svc": ("view", "change"), "outbox": ("view", "change")},
    SUPPORT: {"order_svc": ("view",), "outbox": ("view",)},
}
