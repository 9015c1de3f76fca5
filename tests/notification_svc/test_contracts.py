"""The OpenAPI document of notification-service has everything that its typed client needs."""

from platform_core.topology import NOTIFICATION
from tests.contracts import *  # noqa: F403

CALLEES = [NOTIFICATION]
