"""The OpenAPI document of analytics-service has everything that its typed client needs."""

from platform_core.topology import ANALYTICS
from tests.contracts import *  # noqa: F403

CALLEES = [ANALYTICS]
