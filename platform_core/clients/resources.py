"""Where the resources are that ids in answers name."""

from collections.abc import Mapping
from typing import Final

from platform_core.topology import ORDER, PRODUCT, USER, Service

RESOURCES: Final[Mapping[str, tuple[Service, str]]] = {
    "userId": (USER, "/api/users/"),
    "productId": (PRODUCT, "/api/products/"),
    "orderId": (ORDER, "/api/orders/"),
}
"""Members of answers that hold the id of a resource, with its service and the path before the id."""
