"""The OpenAPI document of product-service has everything that its typed client needs."""

from platform_core.topology import PRODUCT
from tests.contracts import *  # noqa: F403

CALLEES = [PRODUCT]
