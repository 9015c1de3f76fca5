"""The rules of order-service, and those of the notes."""

from order_svc.access import ADMIN_PAGES
from order_svc.access import RULES as ORDER_RULES
from platform_core.auth.rules import GET, POST, WRITE, Rule
from platform_core.topology import SERVICES
from platform_core.vocabulary import Role

__all__ = ["ADMIN_PAGES", "RULES"]

RULES = (
    *ORDER_RULES,
    Rule(GET, "/api/notes", staff=(Role.ORDERS,)),
    Rule(POST, "/api/notes", staff=(Role.ORDERS,), services=SERVICES),
    Rule(GET, "/api/notes/{id}", staff=(Role.ORDERS,)),
    Rule(WRITE, "/api/notes/{id}", staff=(Role.ORDERS,)),
    Rule(POST, "/api/notes/{id}/touch", staff=(Role.ORDERS,), services=SERVICES),
)
