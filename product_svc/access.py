"""Access rules of product-service, for its routes and its admin pages."""

from platform_core.auth import GET, POST, WRITE, AdminPages, Rule
from platform_core.topology import ORDER
from platform_core.vocabulary import Role

CATALOG, ORDERS, SUPPORT = Role.CATALOG, Role.ORDERS, Role.SUPPORT

RULES = (
    Rule(GET, "/api/products", anybody=True),
    Rule(POST, "/api/products", staff=(CATALOG,)),
    Rule(POST, "/api/products/bulk", staff=(CATALOG,)),
    Rule(GET, "/api/products/{id}", anybody=True),
    Rule(WRITE, "/api/products/{id}", staff=(CATALOG,)),
    Rule(("GET", "POST"), "/api/products/{id}/stock-adjustments", staff=(CATALOG,)),
    Rule(GET, "/api/stock-reservations/newest", staff=(CATALOG, ORDERS, SUPPORT), services=(ORDER,)),
    Rule(GET, "/api/stock-reservations/{id}", staff=(CATALOG, ORDERS, SUPPORT), services=(ORDER,)),
    Rule(("PUT", "DELETE"), "/api/stock-reservations/{id}", services=(ORDER,)),
)

ADMIN_PAGES: AdminPages = {
    CATALOG: {"product_svc": ("view", "add", "change", "delete")},
    ORDERS: {"product_svc": ("view",)},
}
