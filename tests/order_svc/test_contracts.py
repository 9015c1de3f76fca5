"""The OpenAPI document of order-service has everything that its typed client needs."""

from platform_core.topology import ORDER
from tests.contracts import *  # noqa: F403

CALLEES = [ORDER]
